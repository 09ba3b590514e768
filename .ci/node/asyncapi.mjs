// Checks an AsyncAPI document by the judgement of the specification's own parser.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const faults = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, path, message } of faults) console.error(`${code} at ${path.join(".")}: ${message}`);
if (!document || faults.length > 0) process.exit(1);
console.log(`${process.argv[2]}: ${document.allChannels().length} channels, ${document.allMessages().length} messages`);
