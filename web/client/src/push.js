// Web Push: once a person has allowed notifications, the browser's push service is made known to the server, which uses it
// while no page is open. The protocol is described in mod/push. Logging out ends it.

const NS = 'sabir:webpush:0';

const supported = 'serviceWorker' in navigator && 'PushManager' in globalThis && 'Notification' in globalThis;

/** The bytes of base64url. */
function bytes(text) {
    const raw = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
    return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

function base64url(buffer) {
    return btoa(String.fromCharCode(...new Uint8Array(buffer)))
        .replaceAll('+', '-')
        .replaceAll('/', '_')
        .replaceAll('=', '');
}

const same = (a, b) => a?.byteLength === b.byteLength && base64url(a) === base64url(b);

/** The browser's subscription for this server's key. One for another key is of no use, and is replaced. */
async function subscription(registration, key) {
    const old = await registration.pushManager.getSubscription();
    if (old && same(old.options.applicationServerKey, key)) return old;
    await old?.unsubscribe();
    return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

/** Asks the server for its key. Null where it has no Web Push. */
async function serverKey(api, $iq) {
    const answer = await api.sendIQ($iq({ type: 'get' }).c('webpush', { xmlns: NS }), undefined, false);
    return answer?.getAttribute('type') === 'result' ? answer.querySelector('key')?.textContent : null;
}

/** Makes the browser known to the server. A browser that has no push service goes on without. */
async function enable(api, $iq) {
    if (!supported || Notification.permission !== 'granted') return;
    const key = await serverKey(api, $iq);
    if (!key) return;
    await navigator.serviceWorker.register('/sw.js');
    const s = await subscription(await navigator.serviceWorker.ready, bytes(key));
    await api.sendIQ(
        $iq({ type: 'set' })
            .c('subscribe', { xmlns: NS, endpoint: s.endpoint })
            .c('p256dh').t(base64url(s.getKey('p256dh'))).up()
            .c('auth').t(base64url(s.getKey('auth'))),
    );
}

/** Ends it, on the server and in the browser: the next person at this computer is not to see whom messages are for. */
async function disable(api, $iq) {
    const s = supported && (await (await navigator.serviceWorker.getRegistration())?.pushManager.getSubscription());
    if (!s) return;
    await api.sendIQ($iq({ type: 'set' }).c('unsubscribe', { xmlns: NS, endpoint: s.endpoint }), undefined, false);
    await s.unsubscribe();
}

/** Calls f once notifications are allowed: converse asks for that after the login. */
async function allowed(f) {
    if (Notification.permission === 'granted') return f();
    const status = await navigator.permissions.query({ name: 'notifications' });
    status.addEventListener('change', () => status.state === 'granted' && f());
}

const quietly = (p) => p.catch((err) => console.info('notifications while the page is closed are not to be had:', String(err)));

/** The plug-in for converse; $iq builds a request. */
export const push = ($iq) => ({
    initialize() {
        const { api } = this._converse;
        if (!supported) return;
        api.listen.on('connected', () => quietly(allowed(() => quietly(enable(api, $iq)))));
        api.listen.on('beforeLogout', () => quietly(disable(api, $iq)));
    },
});
