// Builds static/vendor from the packages that package-lock.json names.
//
//   node tools/vendor.mjs           build from node_modules (run `npm ci --ignore-scripts` first)
//   node tools/vendor.mjs --check   install the lock into a temporary folder, build there, compare
//
// The output is committed, so that installing and running the panel need no npm. The same lock gives
// the same bytes; MANIFEST.json says version, npm integrity and sha256 of everything.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const TARGET = "static/vendor";
const NOTICE = "THIRD_PARTY.md";

const XTERM = ["@xterm/xterm", "@xterm/addon-clipboard", "@xterm/addon-fit", "@xterm/addon-search",
  "@xterm/addon-unicode11", "@xterm/addon-webgl", "@xterm/addon-web-links"];

/** Every shipped file: where it goes and which packages it is made of. */
const FILES = {
  "xterm/xterm.js": XTERM,
  "xterm/xterm.css": ["@xterm/xterm"],
  "tabler/tabler.css": ["@tabler/core"],
  "htmx/htmx.js": ["htmx.org"],
  "htmx/idiomorph.js": ["idiomorph"],
  "icons/tabler.svg": ["@tabler/icons"],
};

/** Packages whose code reaches the browser inside one of the above without being named by us. */
const EMBEDDED = { "xterm/xterm.js": ["js-base64"] };

const readText = (...parts) => readFileSync(join(...parts), "utf8");
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
// collectstatic follows source map comments and fails when the map is not there.
const withoutSourceMap = (text) =>
  text.replace(/\n?\/[/*]# sourceMappingURL=[^\n]*?(\*\/)?\s*$/, "").trimEnd() + "\n";

/** One sprite with a <symbol> per icon; stroke and size come from the <svg> that uses it. */
function sprite(base) {
  const names = JSON.parse(readText(base, "tools/icons.json"));
  const symbols = [...new Set(names)].sort().map((name) => {
    const file = join(base, "node_modules/@tabler/icons/icons/outline", `${name}.svg`);
    if (!existsSync(file)) throw new Error(`tools/icons.json names ${name}, which @tabler/icons does not have`);
    const inner = readFileSync(file, "utf8")
      .replace(/<!--[\s\S]*?-->/g, "")
      .replace(/^[\s\S]*?<svg[^>]*>/, "")
      .replace(/<\/svg>\s*$/, "")
      .replace(/\s*\n\s*/g, "");
    return `<symbol id="${name}" viewBox="0 0 24 24">${inner}</symbol>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`;
}

async function bundleXterm(base) {
  // esbuild is taken from the folder being built, so that --check uses the version in the lock.
  const url = pathToFileURL(join(base, "node_modules/esbuild/lib/main.js")).href;
  const { default: esbuild } = await import(url);
  const result = await esbuild.build({
    absWorkingDir: base,
    entryPoints: ["tools/xterm.entry.mjs"],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    write: false,
  });
  return result.outputFiles[0].text;
}

function licenceOf(base, name) {
  // Some packages name their licence without carrying its text.
  const ours = join(base, "tools/licenses", `${name.replace("/", "-")}.txt`);
  if (existsSync(ours)) return readFileSync(ours, "utf8");
  const folder = join(base, "node_modules", name);
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.(md|txt))?$/i.test(entry));
  if (!file) throw new Error(`${name} carries no licence text: add tools/licenses/${name.replace("/", "-")}.txt`);
  return readText(folder, file).replace(/\r\n/g, "\n").trimEnd() + "\n";
}

/** Returns path → text for everything that is committed. */
async function build(base) {
  const packages = join(base, "node_modules");
  const out = {
    "xterm/xterm.js": withoutSourceMap(await bundleXterm(base)),
    "xterm/xterm.css": withoutSourceMap(readText(packages, "@xterm/xterm/css/xterm.css")),
    "tabler/tabler.css": withoutSourceMap(readText(packages, "@tabler/core/dist/css/tabler.min.css")),
    "htmx/htmx.js": withoutSourceMap(readText(packages, "htmx.org/dist/htmx.min.js")),
    "htmx/idiomorph.js": withoutSourceMap(readText(packages, "idiomorph/dist/idiomorph-ext.min.js")),
    "icons/tabler.svg": sprite(base),
  };
  const lock = JSON.parse(readText(base, "package-lock.json")).packages;
  const shipped = [...new Set([...Object.values(FILES), ...Object.values(EMBEDDED)].flat())].sort();
  const manifest = { packages: {}, files: {} };
  const rows = [];
  for (const name of shipped) {
    const { version, integrity } = lock[`node_modules/${name}`];
    const { license } = JSON.parse(readText(packages, name, "package.json"));
    manifest.packages[name] = { version, license, integrity };
    const file = `licenses/${name.replace("@", "").replaceAll("/", "-")}.txt`;
    out[file] = licenceOf(base, name);
    const used = Object.keys(FILES).filter((path) => [...FILES[path], ...(EMBEDDED[path] ?? [])].includes(name));
    rows.push(`| ${name} | ${version} | ${license} | ${used.map((path) => `\`${path}\``).join(", ")} |`
      + ` [text](${TARGET}/${file}) |`);
  }
  for (const path of Object.keys(out).sort()) manifest.files[path] = sha256(out[path]);
  out["MANIFEST.json"] = JSON.stringify(manifest, null, 2) + "\n";
  const notice = [
    "# Third-party code in the browser",
    "",
    "Written by `tools/vendor.mjs` from `package-lock.json`; do not edit. These packages are shipped in",
    `\`${TARGET}/\`; versions, npm integrity and sha256 are in \`${TARGET}/MANIFEST.json\`.`,
    "",
    "| package | version | licence | files | licence text |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
  return { vendor: out, notice };
}

function listFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

async function write() {
  const { vendor, notice } = await build(ROOT);
  rmSync(join(ROOT, TARGET), { recursive: true, force: true });
  for (const [path, text] of Object.entries(vendor)) {
    mkdirSync(dirname(join(ROOT, TARGET, path)), { recursive: true });
    writeFileSync(join(ROOT, TARGET, path), text);
  }
  writeFileSync(join(ROOT, NOTICE), notice);
  console.log(`${TARGET}: ${Object.keys(vendor).length} files written`);
}

async function check() {
  const base = mkdtempSync(join(tmpdir(), "coi-web-vendor-"));
  try {
    for (const path of ["package.json", "package-lock.json", ".npmrc", "tools"]) {
      cpSync(join(ROOT, path), join(base, path), { recursive: true });
    }
    execFileSync("npm", ["ci", "--ignore-scripts", "--no-progress"], { cwd: base, stdio: ["ignore", "ignore", "inherit"] });
    const { vendor, notice } = await build(base);
    const problems = [];
    for (const [path, text] of Object.entries(vendor)) {
      const file = join(ROOT, TARGET, path);
      if (!existsSync(file)) problems.push(`${TARGET}/${path} is missing`);
      else if (readFileSync(file, "utf8") !== text) problems.push(`${TARGET}/${path} differs`);
    }
    for (const path of listFiles(join(ROOT, TARGET))) {
      if (!(path in vendor)) problems.push(`${TARGET}/${path} comes from nowhere`);
    }
    if (readText(ROOT, NOTICE) !== notice) problems.push(`${NOTICE} differs`);
    if (problems.length) {
      console.error([...problems, "Run: npm ci --ignore-scripts && node tools/vendor.mjs"].join("\n"));
      process.exitCode = 1;
    } else {
      console.log(`${TARGET}: ${Object.keys(vendor).length} files are what package-lock.json makes`);
    }
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

await (process.argv.includes("--check") ? check() : write());
