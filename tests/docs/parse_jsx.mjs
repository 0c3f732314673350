// Reads [[place, language, code], ...] and prints what cannot be parsed: as a module, as elements (whose last one may
// be open, with the reader's own inside), or as members of an object.
import { parseSync } from "../../examples/react_frontend/node_modules/rolldown/dist/utils-index.mjs";

const wrappings = [
  (code) => code,
  (code) => `${code.replace(/(?=^<)/m, "const page = <>\n")}</>;`,
  (code) => `${code.replace(/(?=^<)/m, "const page = <>\n")}</${code.match(/^<(\w+)/m)?.[1]}></>;`,
  (code) => `export default {\n${code}};`,
];

let text = "";
for await (const chunk of process.stdin) text += chunk;
for (const [place, language, code] of JSON.parse(text)) {
  const errors = wrappings.map((wrap) => parseSync(`page.${language}`, wrap(code), { lang: language }).errors);
  if (errors.every((found) => found.length)) {
    for (const { message, codeframe } of errors[0]) console.log(`${place}: ${message}\n${codeframe ?? ""}`);
  }
}
