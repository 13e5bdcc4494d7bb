// Puts the web client together: copies what is needed of converse.js' own build
// and our page into dist/, which package web embeds. Text is stored compressed
// only: the server hands it out as it lies, and unpacks it for the rare client
// that does not take gzip.
//
//   dist/manifest.json   {version, files: [{path, size, gzip, etag}]}: path as in
//                        the URL, size in bytes unpacked, etag unquoted; the
//                        list of everything that may be served
//   dist/files/...       the files, `.gz` added to the name where gzip is true

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const pkg = join(here, 'node_modules', 'converse.js');
const dist = join(here, 'dist');
const { version } = JSON.parse(readFileSync(join(pkg, 'package.json'), 'utf8'));
const wanted = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')).dependencies['converse.js'];
if (version !== wanted) {
    throw new Error(`node_modules holds converse.js ${version}, package.json asks for ${wanted}: run npm ci`);
}

// The version is in the path, so that browsers may keep these files for ever.
const assets = `converse/${version}/`;

// Of converse's dist: neither source maps, nor the readable twins of the minified
// files, nor what belongs to its website. The web fonts are left out because
// app.css names the system's.
const take = [
    'converse.min.js',
    'converse.min.css',
    'libomemo.esm.min.js',
    'curve25519_compiled.wasm',
    'emoji.json',
    'images/custom_emojis',
    'sounds/msg_received.mp3',
    'sounds/msg_received.ogg',
    'chunkjs',
];

/** All files under a path, itself if it is a file. */
function walk(path) {
    if (statSync(path).isFile()) return [path];
    return readdirSync(path)
        .sort()
        .flatMap((name) => walk(join(path, name)));
}

/** The licences of the packages that converse.js was bundled with, one after the other. */
function notices() {
    const lock = JSON.parse(readFileSync(join(here, 'package-lock.json'), 'utf8'));
    const parts = [];
    for (const [path, info] of Object.entries(lock.packages)) {
        if (path === '' || info.link) continue;
        const dir = join(here, path);
        const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
        const texts = existsSync(dir) ? readdirSync(dir).filter((f) => /^(licen[cs]e|copying|notice)/i.test(f)) : [];
        parts.push(
            [`${name} ${info.version ?? ''} (${info.license ?? 'see its text'})`]
                .concat(texts.sort().map((f) => readFileSync(join(dir, f), 'utf8').trim()))
                .join('\n\n'),
        );
    }
    return parts.join(`\n\n${'-'.repeat(72)}\n\n`) + '\n';
}

const sources = new Map();
for (const t of take) {
    for (const f of walk(join(pkg, 'dist', t))) {
        if (!f.endsWith('.map')) sources.set(assets + relative(join(pkg, 'dist'), f), readFileSync(f));
    }
}
sources.set(`${assets}LICENSE.txt`, readFileSync(join(pkg, 'LICENSE')));
sources.set(`${assets}THIRD-PARTY.txt`, Buffer.from(notices()));
for (const name of ['app.js', 'app.css', 'logo.svg', 'push.js', 'sw.js']) {
    sources.set(name, readFileSync(join(here, 'src', name)));
}
const page = readFileSync(join(here, 'src', 'index.html'), 'utf8').replaceAll('{{assets}}', `/${assets}`);
sources.set('index.html', Buffer.from(page));

const packable = /\.(html|js|css|json|svg|txt|wasm)$/;

rmSync(join(dist, 'files'), { recursive: true, force: true });
rmSync(join(dist, 'manifest.json'), { force: true });
const files = [];
let stored = 0;
for (const [path, body] of [...sources].sort(([a], [b]) => (a < b ? -1 : 1))) {
    let gzip = false;
    let data = body;
    if (packable.test(path) && body.length > 256) {
        data = gzipSync(body, { level: 9 });
        gzip = data.length < body.length;
        if (!gzip) data = body;
    }
    const target = join(dist, 'files', path) + (gzip ? '.gz' : '');
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, data);
    stored += data.length;
    const etag = createHash('sha256').update(body).digest('base64url').slice(0, 22);
    files.push({ path, size: body.length, gzip, etag });
}
// Last, because its presence says that the build is whole.
writeFileSync(join(dist, 'manifest.json'), JSON.stringify({ version, files }, null, 1) + '\n');
console.log(`web client: ${files.length} files, ${(stored / 1e6).toFixed(1)} MB, converse.js ${version}`);
