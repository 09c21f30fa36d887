export {
  authorityDaysDefault,
  certificateIds,
  daysMax,
  initialiseAuthority,
  isoDay,
  openAuthority,
  succeedAuthority,
  type Authority,
  type CertificateIds,
  type IssuedCertificate,
  type IssuingContext,
} from "./authority.ts";
export * from "./certificate-files.ts";
export {
  inspectCertificate,
  type AlternativeName,
  type CertificateFacts,
  type ParsedCertificate,
} from "./inspect.ts";
export { issueControl, issueNode, issueUser, leafDaysDefault, type IssueOptions } from "./issue.ts";
export { keyTypes, type CryptoProvider, type KeyType } from "./key.ts";
export { renewCertificate, type Renewal, type RenewRequest } from "./renew.ts";
export { revokeCertificate, type Revocation } from "./revoke.ts";
