// Says for each update whether the clients' published schemas accept it.
// Usage: node published.mjs <folder of node_modules> <JSON list of updates>
import { createRequire } from "node:module";
import path from "node:path";

const [, , folder, updates] = process.argv;
const { CoreUpdateContainerSchema } = createRequire(path.join(folder, "from-here.js"))("@slopus/happy-wire");

console.log(JSON.stringify(JSON.parse(updates).map((update) => CoreUpdateContainerSchema.safeParse(update).success)));
