// The web client in Chromium, which does what it is told on standard input, as a person would: it clicks and types.
//
// One line is one command, an object of JSON with "do" and its arguments; one line of standard output is its answer:
// {"result": ...} or {"error": "..."}. Commands that wait give up after the seconds of "within" (10). Several people may be
// logged in at once, each in a browser context of its own, named by "who".
//
// Certificates are verified: Chromium trusts what the NSS database under its HOME holds.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

// The packages lie outside of the source tree.
const { chromium } = createRequire(process.env.SABIR_INTEROP_NODE + '/')('playwright-core');

const flags = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

let browser;
const people = new Map();

/** What one person's page has done that somebody may want to know. */
class Person {
    constructor(context, page) {
        Object.assign(this, { context, page, violations: [], foreign: [], errors: [], sockets: [], requests: 0 });
    }

    get(selector) {
        return this.page.locator(selector);
    }
}

const quoted = (s) => JSON.stringify(s);
const contact = (jid) => `converse-roster li.list-item:has(a.open-chat[data-jid=${quoted(jid)}])`;
const chat = (jid) => `converse-chat[jid=${quoted(jid)}]`;

const room = (jid) => `converse-muc[jid=${quoted(jid)}]`;

async function open(a) {
    browser ??= await chromium.launch({ executablePath: process.env.SABIR_INTEROP_CHROMIUM || '/usr/bin/chromium', args: flags });
    const context = await browser.newContext({
        viewport: a.phone ? { width: 390, height: 760 } : { width: a.width ?? 1180, height: a.height ?? 660 },
        isMobile: !!a.phone,
        hasTouch: !!a.phone,
        deviceScaleFactor: a.scale ?? 1,
        locale: 'en-GB',
        timezoneId: 'UTC',
        reducedMotion: 'reduce', // a modal that fades away cannot be opened again
    });
    context.setDefaultTimeout(10_000);
    const page = await context.newPage();
    const p = new Person(context, page);
    const own = new URL(a.url);
    await page.exposeFunction('sabirViolation', (v) => p.violations.push(v));
    await page.addInitScript(() => {
        document.addEventListener('securitypolicyviolation', (e) => {
            globalThis.sabirViolation(`${e.violatedDirective}: ${e.blockedURI} (${e.sourceFile}:${e.lineNumber}) ${e.sample}`);
        });
    });
    const look = (url) => {
        const u = new URL(url);
        if (!['data:', 'blob:'].includes(u.protocol)) {
            p.requests++;
            if (u.host !== own.host) p.foreign.push(url);
        }
    };
    page.on('request', (r) => look(r.url()));
    page.on('websocket', (w) => {
        p.sockets.push(w.url());
        look(w.url());
    });
    page.on('pageerror', (e) => p.errors.push('uncaught: ' + (e.stack || e.message || e)));
    page.on('console', (m) => {
        if (/Content Security Policy/i.test(m.text())) p.violations.push(m.text());
        if (m.type() === 'error' || m.type() === 'warning') p.errors.push(`${m.type()}: ${m.text()}`);
    });
    if (a.push) {
        await context.grantPermissions(['notifications'], { origin: own.origin });
        await page.addInitScript(pretendPush, a.push);
    }
    await page.goto(a.url);
    people.set(a.who, p);
    return p;
}

/**
 * Stands, within the page, for the push service of the browser's maker, which is beyond reach: subscriptions are those of
 * the test. What becomes of a notification in the worker is the browser's own doing.
 */
function pretendPush(given) {
    const bytes = (s) => Uint8Array.from(atob(s.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0)).buffer;
    let current = null;
    PushManager.prototype.getSubscription = async () => current;
    PushManager.prototype.subscribe = async (options) => {
        if (!options.userVisibleOnly) throw new Error('not allowed');
        globalThis.sabirServerKey = btoa(String.fromCharCode(...new Uint8Array(options.applicationServerKey)));
        current = {
            endpoint: given.endpoint,
            options: { applicationServerKey: options.applicationServerKey.buffer },
            getKey: (name) => bytes(given[name]),
            unsubscribe: async () => ((current = null), true),
        };
        return current;
    };
}

/** Presses a button that stands in a contact's menu. */
async function menu(p, jid, entry) {
    const item = p.get(contact(jid)).first();
    await item.locator('converse-dropdown button').click({ timeout: 2000 });
    await item.locator(entry).click({ timeout: 2000 });
}

/** Waits until no modal is open or on its way out. */
async function closed(p, modal) {
    await p.get(modal).and(p.get(':visible')).waitFor({ state: 'detached' });
    await p.get('.modal-backdrop').waitFor({ state: 'detached' });
}

/** Presses the button of a modal, and waits until it is gone. */
async function submit(p, modal, fill) {
    const m = p.get(`${modal}.show`);
    await m.waitFor();
    await fill?.(m);
    await m.locator('form').first().locator('[type=submit]').click();
    await closed(p, modal);
}

const commands = {
    /** Loads a page without more, and tells how that went. */
    async load(a) {
        const context = await (browser ??= await chromium.launch({ executablePath: process.env.SABIR_INTEROP_CHROMIUM || '/usr/bin/chromium', args: flags })).newContext();
        try {
            const res = await (await context.newPage()).goto(a.url);
            return { status: res.status(), tls: (await res.securityDetails()).protocol, issuer: (await res.securityDetails()).issuer };
        } finally {
            await context.close();
        }
    },

    /** Opens a page that must do nothing, clicks all of its own links' places, and tells what it did and what it shows. */
    async look(a) {
        const context = await (browser ??= await chromium.launch({ executablePath: process.env.SABIR_INTEROP_CHROMIUM || '/usr/bin/chromium', args: flags })).newContext();
        const did = [];
        try {
            const page = await context.newPage();
            page.on('request', (r) => r.url() === a.url || did.push(`request: ${r.url()}`));
            page.on('pageerror', (e) => did.push(`script: ${e.message}`)); // hit() is not defined: it was called
            page.on('dialog', (d) => { did.push(`dialog: ${d.message()}`); d.dismiss(); });
            page.on('console', (m) => did.push(`console: ${m.text()}`));
            page.on('framenavigated', (f) => f === page.mainFrame() && f.url() === a.url || did.push(`navigation: ${f.url()}`));
            page.on('popup', (w) => did.push(`window: ${w.url()}`));
            const res = await page.goto(a.url, { waitUntil: 'load' });
            for (const e of (await page.locator('article *').all()).slice(0, 40)) await e.dispatchEvent('mouseover').catch(() => {});
            await page.mouse.move(400, 300);
            await page.keyboard.press('Tab');
            await page.waitForTimeout(300);
            const count = (s) => page.locator(s).count();
            return {
                status: res.status(), policy: res.headers()['content-security-policy'], did, title: await page.title(), text: (await page.innerText('body')).slice(0, 100000),
                articles: await count('article'), styled: await page.locator('article').first().evaluate((e) => getComputedStyle(e).borderTopWidth),
                handlers: await page.evaluate(() => [...document.querySelectorAll('*')].flatMap((e) => [...e.attributes])
                    .filter((t) => /^on/i.test(t.name) || /^\s*(javascript|data|vbscript):/i.test(t.value) && ['href', 'src', 'action', 'xlink:href'].includes(t.name)).length),
                active: await count('script, iframe, object, embed, form, input, link[rel=stylesheet], img, svg, math, video, audio, base, meta[http-equiv]'),
                origin: await page.evaluate(() => globalThis.origin),
            };
        } finally {
            await context.close();
        }
    },

    async login(a) {
        const p = await open(a);
        await p.get('input[name=jid]').fill(a.user);
        await p.get('input[name=password]').fill(a.password);
        await p.get('form#converse-login [type=submit]').click();
        await p.get('converse-user-profile .xmpp-status').or(p.get('.conn-feedback:not(.d-none)')).first().waitFor({ timeout: (a.within ?? 20) * 1000 });
        const said = p.get('form#converse-login .conn-feedback');
        if (await said.count()) throw new Error(`not logged in: ${await said.innerText()}`);
        await p.get('converse-roster .roster-contacts').waitFor();
        return { socket: p.sockets.at(-1) };
    },

    /** Tries to log in where that must fail, and returns what the page says. */
    async refused(a) {
        const p = await open(a);
        await p.get('input[name=jid]').fill(a.user);
        await p.get('input[name=password]').fill(a.password);
        await p.get('form#converse-login [type=submit]').click();
        const said = p.get('.feedback-message');
        await said.filter({ hasText: /\S/ }).waitFor();
        const text = await said.innerText();
        await p.get('form#converse-login').waitFor(); // to try again
        await p.context.close();
        people.delete(a.who);
        return text;
    },

    async subscribe(p, a) {
        await p.get('converse-roster > div converse-dropdown.dropdown--contacts button').first().click();
        await p.get('converse-roster a.add-contact').click();
        await submit(p, 'converse-add-contact-modal', async (m) => {
            await m.locator('input[name=jid]').fill(a.to);
            await m.locator('input[name=name]').fill(a.name ?? '');
        });
    },

    /**
     * Accepts a request, by which the web client asks for the same in return. One from somebody whom it has asked itself is
     * accepted without a question.
     */
    async approve(p, a) {
        const item = `${contact(a.from)}.requesting-xmpp-contact`;
        const both = p.get(`${contact(a.from)}.both`);
        await p.get(item).or(both).first().waitFor({ timeout: a.limit });
        if (await both.count()) return;
        await p.get(`${item} converse-dropdown button`).click();
        await p.get(`${item} a.accept-xmpp-request`).click();
        await submit(p, 'converse-accept-contact-request-modal', async (m) => {
            if (a.name) await m.locator('input[name=name]').fill(a.name);
        });
    },

    async open_chat(p, a) {
        const back = p.get('converse-controlbox-navback').and(p.get(':visible')).first(); // on a phone, where a chat lies over the roster
        if (await back.count()) await back.click();
        await p.get(`${contact(a.jid)} a.open-chat`).first().click();
        await p.get(`${chat(a.jid)} .chat-head`).waitFor(); // the element around it has no box of its own
    },

    async send(p, a) {
        await commands.open_chat(p, { jid: a.to });
        const input = p.get(`${chat(a.to)} textarea.chat-textarea`);
        await input.fill(a.text);
        await input.press('Enter');
        await p.get(`${chat(a.to)} converse-chat-message .chat-msg__text`, { hasText: a.text }).last().waitFor();
    },

    async receive(p, a) {
        await p.get(`${contact(a.from)}`).first().waitFor({ timeout: a.limit });
        await commands.open_chat(p, { jid: a.from });
        const m = p.get(`${chat(a.from)} converse-chat-message .chat-msg__text`).filter({ hasText: a.text });
        await m.first().waitFor({ timeout: a.limit });
        return { count: await m.count() };
    },

    /** How much wider the page is than the window: a person would have to push it about. */
    async overflow(p) {
        return p.page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    },

    /** Follows a link to a room, and enters it under a name. */
    async enter(p, a) {
        await p.page.evaluate((room) => (location.hash = `#converse/room?jid=${room}`), a.room);
        const nick = p.get(`${room(a.room)} converse-muc-nickname-form input[name=nick]`);
        const input = p.get(`${room(a.room)} textarea.chat-textarea`);
        await nick.or(input).first().waitFor({ timeout: a.limit });
        if (await nick.count()) {
            await nick.fill(a.nick);
            await nick.press('Enter');
        }
        await input.waitFor({ timeout: a.limit });
    },

    async say(p, a) {
        const input = p.get(`${room(a.room)} textarea.chat-textarea`);
        await input.fill(a.text);
        await input.press('Enter');
    },

    /** Waits until the room shows what somebody has said, and counts how often it does. */
    async hears(p, a) {
        const m = p.get(`${room(a.room)} converse-chat-message`).filter({ has: p.page.locator('.chat-msg__text', { hasText: a.text }) });
        await m.first().waitFor({ timeout: a.limit });
        return { count: await m.count() };
    },

    /** The names that the room's list of occupants shows. */
    async occupants(p, a) {
        const list = p.get(`${room(a.room)} .occupant-list .occupant-nick`);
        await list.nth(a.least - 1).waitFor({ timeout: a.limit });
        return { nicks: (await list.allInnerTexts()).map((n) => n.trim()) };
    },

    /** Chooses a presence in the menu of one's own status. */
    async presence(p, a) {
        await p.get('converse-user-profile a.change-status').click();
        const m = p.get('converse-profile-modal.show');
        await m.locator(`input[type=radio][value=${a.show}]`).check();
        await m.locator('input[name=status_message]').fill(a.status ?? '');
        await m.locator('form#set-xmpp-status [type=submit]').click();
        await m.locator('.modal-footer [data-bs-dismiss=modal]').click();
        await closed(p, 'converse-profile-modal');
    },

    /** Writes one's profile, which is the vCard, by the page's form: name, nickname, role, email and url as far as a has them. */
    async set_profile(p, a) {
        await p.get('converse-user-profile a.change-status').click();
        const m = p.get('converse-profile-modal.show');
        await m.locator('#profile-tab').click();
        for (const [name, value] of Object.entries(a.fields)) await m.locator(`#profile-tabpanel input[name=${name}]`).fill(value);
        await m.locator('#profile-tabpanel .save-form').click();
        await closed(p, 'converse-profile-modal'); // it closes once the server has the vCard
    },

    /** Chooses a picture for one's profile, as a person does, and waits until the server has it: the form closes then. */
    async set_picture(p, a) {
        await p.get('converse-user-profile a.change-status').click();
        const m = p.get('converse-profile-modal.show');
        await m.locator('#profile-tab').click();
        const chooser = p.page.waitForEvent('filechooser');
        await m.locator('#profile-tabpanel .change-avatar').click();
        await (await chooser).setFiles({ name: 'picture.png', mimeType: 'image/png', buffer: Buffer.from(a.data, 'base64') });
        await m.locator('#profile-tabpanel .save-form').click();
        await closed(p, 'converse-profile-modal');
    },

    /** Waits until the roster shows this picture, whole, for a contact. */
    async shows_picture(p, a) {
        const image = p.get(`${contact(a.jid)} converse-avatar svg image[href="data:${a.type};base64,${a.data}"]`);
        await image.first().waitFor({ timeout: a.limit });
        return image.first().evaluate(async (e) => {
            const i = new Image();
            i.src = e.href.baseVal;
            await i.decode();
            return { width: i.naturalWidth, height: i.naturalHeight };
        });
    },

    /** Waits until the form of one's profile says what a has. */
    async profile(p, a) {
        await p.get('converse-user-profile a.change-status').click();
        const m = p.get('converse-profile-modal.show');
        await m.locator('#profile-tab').click();
        for (const [name, value] of Object.entries(a.fields)) await m.locator(`#profile-tabpanel input[name=${name}][value="${value}"]`).waitFor();
        await m.locator('.modal-footer [data-bs-dismiss=modal]').click();
        await closed(p, 'converse-profile-modal');
    },

    /** The roster shows what a contact is up to, not the text beside it. */
    async sees(p, a) {
        await p.get(`${contact(a.jid)}[data-status=${a.show}]`).first().waitFor({ timeout: a.limit });
    },

    /** Removes a contact and with it the subscriptions both ways. Returns false where the roster shows no such contact. */
    async remove(p, a) {
        try {
            await menu(p, a.jid, 'a.remove-xmpp-contact');
        } catch (e) {
            if (await p.get(contact(a.jid)).count()) throw e;
            return false;
        }
        await submit(p, 'converse-confirm-modal');
        await p.get(contact(a.jid)).waitFor({ state: 'detached' });
        return true;
    },

    /** A contact who is offline, or in nobody's roster any more. */
    async unseen(p, a) {
        const here = p.get(`${contact(a.jid)}:not([data-status=offline])`);
        await here.first().waitFor({ state: 'detached', timeout: a.limit });
    },

    /** Takes a picture, once the notices that lie over the page are closed. */
    async shot(p, a) {
        const notices = p.get('converse-toast .btn-close, converse-toast button');
        while (await notices.count()) {
            await notices.first().click();
            await sleep(100);
        }
        if (a.settle) await sleep(a.settle);
        await p.page.screenshot({ path: a.path });
    },

    /** What the page has asked for, and what it complains of. */
    async log(p) {
        const { violations, foreign, errors, sockets, requests } = p;
        return { violations, foreign, errors, sockets, requests };
    },

    /** Waits until the page has subscribed, and returns the server's key and the script of the worker. */
    async subscribed(p, a) {
        await p.page.waitForFunction(() => globalThis.sabirServerKey, undefined, { timeout: a.limit });
        return p.page.evaluate(async () => {
            const r = await navigator.serviceWorker.ready;
            return { key: globalThis.sabirServerKey, scope: r.scope, script: r.active.scriptURL };
        });
    },

    /** Leaves the page, so that the client is gone, for one beside it. */
    async leave(p) {
        await p.page.goto(new URL('/client-config.json', p.page.url()).href);
    },

    /** Hands a notification to the worker as the browser does, and returns what it shows then. */
    async notified(p, a) {
        const cdp = await p.context.newCDPSession(p.page);
        const found = new Promise((done) => {
            cdp.on('ServiceWorker.workerRegistrationUpdated', (e) => {
                const r = e.registrations.find((r) => !r.isDeleted);
                if (r) done(r.registrationId);
            });
        });
        await cdp.send('ServiceWorker.enable');
        const origin = new URL(p.page.url()).origin;
        await cdp.send('ServiceWorker.deliverPushMessage', { origin, registrationId: await found, data: a.data });
        const end = Date.now() + a.limit;
        for (;;) {
            const shown = await p.page.evaluate(async () => {
                const r = await navigator.serviceWorker.getRegistration('/');
                return (await r.getNotifications()).map(({ title, body, tag }) => ({ title, body, tag }));
            });
            if (shown.length || Date.now() > end) return { shown };
            await sleep(100);
        }
    },

    async logout(p, a) {
        await p.context.close();
        people.delete(a.who);
    },
};

const alone = new Set(['look', 'load', 'login', 'refused']);

for await (const line of createInterface({ input: process.stdin })) {
    const a = JSON.parse(line);
    a.limit = (a.within ?? 10) * 1000;
    let answer;
    try {
        const f = commands[a.do];
        if (!f) throw new Error(`no command ${a.do}`);
        const p = people.get(a.who);
        if (!alone.has(a.do) && !p) throw new Error(`${a.who} is not logged in`);
        answer = { result: (await (alone.has(a.do) ? f(a) : f(p, a))) ?? null };
    } catch (e) {
        answer = { error: `${a.do}: ${e.message}` };
        const p = people.get(a.who);
        if (p && process.env.SABIR_INTEROP_FAILED) {
            await p.page.screenshot({ path: `${process.env.SABIR_INTEROP_FAILED}/${a.who}-${a.do}-${Date.now()}.png` }).catch(() => {});
        }
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
}
await browser?.close();
