/** The pages that /v1 answers for unknown paths and methods: HTML, as the original's framework did. */

export const htmlMediaType = "text/html";

function page(title: string, text: string): string {
  const heading = title.slice(title.indexOf(" ") + 1);
  return (
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n' +
    `<title>${title}</title>\n<h1>${heading}</h1>\n<p>${text}</p>\n`
  );
}

export const notFoundPage: string = page(
  "404 Not Found",
  "The requested URL was not found on the server.  If you entered the URL manually please check your spelling and try again.",
);

export const methodNotAllowedPage: string = page(
  "405 Method Not Allowed",
  "The method is not allowed for the requested URL.",
);
