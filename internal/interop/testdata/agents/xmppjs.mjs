// XMPP.js, which does what it is told on standard input: see browser.mjs for the lines. It logs in by SASL2 with Bind 2, and from
// the second time on by the token that it was given (FAST, HT-SHA-256-NONE). Node verifies the certificate by the authority in
// NODE_EXTRA_CA_CERTS.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// The packages lie outside of the source tree.
const at = createRequire(process.env.SABIR_INTEROP_NODE + '/').resolve('@xmpp/client');
const { client, xml } = await import(pathToFileURL(at).href);

let xmpp, token, seen, waiting;

const got = (stanza) => {
    seen.push(stanza.toString());
    waiting?.();
};

/** Waits until something that came has this text in it. */
async function until(text, limit) {
    const end = Date.now() + limit;
    for (;;) {
        const found = seen.find((s) => s.includes(text));
        if (found) return found;
        if (Date.now() > end) throw new Error(`${text} did not come, but ${JSON.stringify(seen)}`);
        await new Promise((go) => {
            waiting = go;
            setTimeout(go, 200);
        });
    }
}

const commands = {
    async login(a) {
        seen = [];
        const userAgent = xml('user-agent', { id: a.id }, xml('software', {}, 'XMPP.js'), xml('device', {}, 'interop'));
        let used = null;
        xmpp = client({
            service: a.service, domain: a.domain, resource: 'xmpp.js', userAgent,
            credentials: async (authenticate, mechanisms, fast) => {
                const kept = fast ? await fast.fetch() : null;
                used = kept ? fast.mechanism : mechanisms[0];
                await authenticate({ username: a.user, password: a.password, token: kept ?? undefined }, mechanisms[0], userAgent);
            },
        });
        xmpp.reconnect.stop();
        Object.assign(xmpp.fast, {
            saveToken: async (t) => { token = t; },
            fetchToken: async () => token,
            deleteToken: async () => { token = null; },
        });
        const errors = [];
        xmpp.on('error', (e) => errors.push(String(e)));
        xmpp.on('nonza', (e) => got(e));
        xmpp.on('stanza', (e) => got(e));
        const jid = await xmpp.start();
        await xmpp.send(xml('presence'));
        return { jid: String(jid), used, token: token ? { mechanism: token.mechanism, expiry: token.expiry } : null, errors };
    },

    async send(a) {
        await xmpp.send(xml('message', { to: a.to, type: 'chat' }, xml('body', {}, a.text)));
    },

    async receive(a) {
        return { stanza: await until(a.text, a.limit) };
    },

    async forget() {
        token = null;
    },

    async logout() {
        await xmpp.stop();
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const a = JSON.parse(line);
    a.limit = (a.within ?? 10) * 1000;
    let answer;
    try {
        if (!commands[a.do]) throw new Error(`no command ${a.do}`);
        answer = { result: (await commands[a.do](a)) ?? null };
    } catch (e) {
        answer = { error: `${a.do}: ${e.stack ?? e}` };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
}
process.exit(0);
