// The service worker of the web client: shows what the server has to tell while no page is open (Web Push, RFC 8030). It
// keeps no copies of pages and answers no requests.

/** What stands in a notification: the server says how much it may tell. */
function words({ account = '', count = 0, requests = 0, sender = '', body = '' }) {
    const parts = [];
    if (count > 0) parts.push(count === 1 ? 'A new message' : `${count} new messages`);
    if (requests > 0) parts.push(requests === 1 ? 'A contact request' : `${requests} contact requests`);
    const what = parts.join(', ') || 'Something new';
    if (body) return { title: sender.split('/')[0] || what, body };
    return { title: what, body: sender ? `from ${sender.split('/')[0]}` : account };
}

/** The page that is in front, or any other. */
async function page() {
    const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
    return pages.find((p) => p.focused) ?? pages[0];
}

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (e) => e.waitUntil(self.clients.claim()));

self.addEventListener('push', (e) => {
    let note = {};
    try {
        note = e.data?.json() ?? {};
    } catch {
        // Another version of the server may send another form: that there is something is worth telling even so.
    }
    const { title, body } = words(note);
    e.waitUntil(
        self.registration.showNotification(title, { body, icon: '/logo.svg', tag: note.account || 'sabir', renotify: true }),
    );
});

self.addEventListener('notificationclick', (e) => {
    e.notification.close();
    e.waitUntil(page().then((p) => (p ? p.focus() : self.clients.openWindow('/'))));
});
