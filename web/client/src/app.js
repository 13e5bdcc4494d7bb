// The page around converse.js: reads what the server says about itself, puts
// our own name in place of converse's advertising, and starts the client.
// Nothing here, and no setting below, asks any host but the one that served it.

import { push } from './push.js';

const assets = document.querySelector('meta[name="converse-assets"]').content;
const attempts = 3;

/** A web component that shows what `fill` puts into it, once. */
function define(name, fill) {
    // converse defines its elements only where the name is still free, so the
    // ones defined here, before it starts, are the ones in use.
    customElements.define(
        name,
        class extends HTMLElement {
            connectedCallback() {
                if (!this.firstChild) fill(this);
            }
        },
    );
}

/** Adds an element with properties and children, returns it. */
function add(parent, tag, props = {}, ...children) {
    const el = Object.assign(document.createElement(tag), props);
    el.append(...children);
    parent.append(el);
    return el;
}

function defineOwnLook(config) {
    define('converse-brand-logo', (el) => {
        const box = add(el, 'div', { className: 'sabir-brand' });
        add(box, 'img', { src: '/logo.svg', alt: '', width: 76, height: 76 });
        add(box, 'h1', {}, 'Sabir');
        add(box, 'p', {}, config.domain);
    });
    define('converse-controlbox-navbar', () => {});
    define('converse-footer', (el) => {
        const p = add(el, 'p', { className: 'sabir-footer' });
        p.append('Converse.js ' + (config.client_version ?? ''), ' · ');
        add(p, 'a', { href: `${assets}LICENSE.txt`, target: '_blank', rel: 'noopener' }, 'MPL-2.0');
        p.append(' · ');
        add(p, 'a', { href: `${assets}THIRD-PARTY.txt`, target: '_blank', rel: 'noopener' }, 'Notices');
        p.append(' · ');
        add(
            p,
            'a',
            { href: 'https://github.com/conversejs/converse.js', target: '_blank', rel: 'noopener noreferrer' },
            'Source',
        );
    });
}

/**
 * What converse leaves undone.
 *
 * COMPAT converse.js 14.0.0, 2026-11:
 * - Its dialog that accepts a request for one's presence means to ask for the other's in return, but calls the contact's
 *   method for listening to events, without arguments. The contact would stay "pending" on this side for ever.
 * - The end of a session that is not kept, a failed login among them, takes away the box that the login form is in, and an
 *   empty page stays.
 */
const mend = {
    dependencies: ['converse-roster', 'converse-controlbox'],
    initialize() {
        const { api, exports, state } = this._converse;
        const contact = exports.RosterContact.prototype;
        const listen = contact.subscribe;
        contact.subscribe = function (...args) {
            return args.length > 0 ? listen.apply(this, args) : this.subscribeToPresence();
        };
        api.listen.on('disconnected', () => {
            if (!state.chatboxes.get('controlbox')) state.chatboxes.add(new exports.ControlBox({ id: 'controlbox' }));
        });
    },
};

/** The WebSocket's URL: what the server names, relative to this page. */
function websocketURL(path) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol.replace(/^http/, 'ws');
    return url.href;
}

/** Host names from which pictures, sound and video in messages are shown: the same that the server's Content-Security-Policy lets in. */
function mediaHosts(config) {
    return [location.hostname, ...(config.media_origins ?? []).map((o) => new URL(o).hostname)];
}

function settings(config) {
    const one = config.domains.length === 1;
    const hosts = mediaHosts(config);
    return {
        assets_path: assets,
        view_mode: 'fullscreen',
        show_background: false,
        theme: 'classic',
        dark_theme: 'dracula',

        authentication: 'login',
        auto_login: false,
        auto_reconnect: true,
        keepalive: true,
        websocket_url: websocketURL(config.websocket),
        discover_connection_methods: false,
        show_connection_url_input: false,
        // With one domain its name stands beside the input; with several, the
        // one of this page is meant where a person gives no other.
        ...(one ? { locked_domain: config.domain } : { default_domain: config.domain }),
        allow_registration: config.registration === true,
        registration_domain: config.domain,
        // A computer at work is often shared: storing is asked for, not assumed.
        allow_user_trust_override: 'off',

        muc_domain: config.muc_domain,
        muc_nickname_from_jid: true,
        auto_list_rooms: false,
        muc_respect_autojoin: true,
        auto_join_on_invite: false,
        enable_smacks: true,

        // Services of third parties that converse would ask by default.
        muc_search_service: '',
        autocomplete_providers_url: '',
        xmpp_providers_url: '',
        providers_link: '',
        embed_3rd_party_media_players: false,
        fetch_url_headers: false,
        use_system_emojis: true,
        render_media: hosts,
        allowed_image_domains: hosts,
        allowed_audio_domains: hosts,
        allowed_video_domains: hosts,

        whitelisted_plugins: ['sabir-mend', 'sabir-push'],
        notification_icon: '/logo.svg',
        loglevel: 'warn',
    };
}

async function fetchConfig() {
    const res = await fetch('/client-config.json', { cache: 'no-cache', credentials: 'omit' });
    if (!res.ok) throw new Error(`client-config.json: ${res.status}`);
    return res.json();
}

function showFailure(err) {
    console.error(err);
    const main = document.getElementById('starting');
    const text = document.getElementById('starting-text');
    text.textContent = 'The web client could not be loaded.';
    main.classList.add('failed');
    add(main, 'p', { className: 'detail' }, String(err.message ?? err));
    add(main, 'button', { type: 'button', onclick: () => location.reload() }, 'Try again');
}

async function start() {
    let config;
    for (let i = 1; ; i++) {
        try {
            config = await fetchConfig();
            break;
        } catch (err) {
            if (i === attempts) throw err;
            await new Promise((done) => setTimeout(done, 500 * i));
        }
    }
    document.title = `Sabir · ${config.domain}`;
    defineOwnLook(config);
    const { default: converse } = await import(`${assets}converse.min.js`);
    converse.plugins.add('sabir-mend', mend);
    converse.plugins.add('sabir-push', push(converse.env.$iq));
    await converse.initialize(settings(config));
    document.getElementById('starting').remove();
}

start().catch(showFailure);
