export * from "./authority.ts";
export * from "./certificate-files.ts";
export * from "./inspect.ts";
export { issueControl, issueNode, issueUser, leafDaysDefault, type IssueOptions } from "./issue.ts";
export { keyTypes, type CryptoProvider, type KeyType } from "./key.ts";
export { renewCertificate, type Renewal, type RenewRequest } from "./renew.ts";
export { checkUserName, parseHost, type HostName } from "./subject-names.ts";
