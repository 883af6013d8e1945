// Bundles the page into what the program embeds, and collects the licences of everything that went into it.

import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const out = process.argv[2];
const result = await build({
  entryPoints: { page: 'page.jsx' },
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  outdir: 'out',
  format: 'iife',
  jsx: 'automatic',
  target: ['es2022'],
  legalComments: 'none',
  define: { 'process.env.NODE_ENV': '"production"' },
  loader: { '.graphql': 'text', '.woff2': 'dataurl', '.woff': 'dataurl', '.ttf': 'dataurl', '.svg': 'dataurl' },
});

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const put = (name, bytes) => writeFileSync(join(out, `${name}.gz`), gzipSync(bytes, { level: 9 }));
for (const file of result.outputFiles) put(file.path.split('/').at(-1), file.contents);
put('index.html', readFileSync('index.html'));

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const match = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (match) packages.add(match[1]);
}
let licences = 'What the page of GraphiQL is made of.\n';
for (const name of [...packages].sort()) {
  const folder = join('node_modules', name);
  const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  const text = file && existsSync(join(folder, file)) ? readFileSync(join(folder, file), 'utf8').trim() : `Licence: ${about.license}`;
  licences += `\n---- ${name} ${about.version} (${about.license})\n\n${text}\n`;
}
put('licences.txt', licences);
