"""A slixmpp client that does what it is told on standard input.

One line is one command, an object of JSON with "do" and its arguments; one line of standard output is its answer:
{"result": ...} or {"error": "..."}. Commands that wait give up after the seconds of "within" (10). What the library logs
goes to standard error.
"""

import asyncio
import base64
import functools
import hashlib
import json
import logging
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout

PLUGINS = ['xep_0012', 'xep_0030', 'xep_0054', 'xep_0092', 'xep_0115', 'xep_0191', 'xep_0199', 'xep_0202', 'xep_0203', 'xep_0280', 'xep_0313']

# With "pubsub" at the login: what announces interest in nodes, so that notifications come.
PUBSUB = ['xep_0060', 'xep_0163', 'xep_0084', 'xep_0107', 'xep_0108', 'xep_0118', 'xep_0172', 'xep_0223', 'xep_0402']


class Agent(slixmpp.ClientXMPP):
    def __init__(self, a):
        super().__init__(a['jid'], a['password'], lang='en')
        for p in PLUGINS + (PUBSUB if a.get('pubsub') else []):
            self.register_plugin(p)
        # A session that is managed comes back to the same address when its connection breaks.
        self.back = (a['host'], a['port']) if a.get('manage') else None
        if self.back:
            self.register_plugin('xep_0198', {'window': 1})
            self.add_event_handler('session_resumed', self.on_resumed)
        if a.get('mechanism'):
            self.plugin['feature_mechanisms'].use_mech = a['mechanism']
        self.plugin['xep_0092'].software_name = 'interop agent'
        self.plugin['xep_0092'].version = '1'
        self.ca_certs = Path(a['ca'])
        self.enable_plaintext = False
        self.enable_direct_tls = bool(a.get('direct'))
        self.enable_starttls = not a.get('direct')
        # Every step is asked for by name: nothing is granted or asked back by itself.
        self.roster.auto_authorize = None
        self.roster.auto_subscribe = False
        self.changed = asyncio.Condition()
        self.ended = None
        self.messages = []   # (bare JID, body, stamp or None)
        self.errors = []     # (bare JID, condition)
        self.said = []       # (occupant's address, body) in rooms
        self.requests = set()
        self.there = {}      # full JID: (show, status)
        self.gone = set()    # bare JIDs whose last presence was unavailable
        self.pushes = []     # (bare JID, subscription, name)
        self.answers = []    # (bare JID, subscribed or unsubscribed)
        self.carbons = []    # (received or sent, bare JID of the other, body)
        self.resumed = 0
        for name, f in [
            ('message', self.on_message), ('message_error', self.on_error),
            ('presence_available', self.on_here), ('presence_away', self.on_here), ('presence_xa', self.on_here),
            ('presence_dnd', self.on_here), ('presence_chat', self.on_here), ('presence_unavailable', self.on_gone),
            ('presence_subscribe', self.on_request), ('roster_update', self.on_roster),
            ('presence_subscribed', self.on_answer), ('presence_unsubscribed', self.on_answer),
            ('disconnected', self.on_end), ('failed_auth', self.on_failed), ('connection_failed', self.on_end),
            ('ssl_invalid_chain', self.on_certificate),
            ('carbon_received', self.on_carbon_received), ('carbon_sent', self.on_carbon_sent),
        ]:
            self.add_event_handler(name, f)
        self.events = []     # (kind, bare JID, node, item, what)
        for kind, what in [
            ('user_mood_publish', lambda i: f"{i['mood']['value']} {i['mood']['text']}"),
            ('user_activity_publish', lambda i: f"{' '.join(v or '-' for v in i['activity']['value'])}: {i['activity']['text']}"),
            ('user_tune_publish', lambda i: f"{i['tune']['artist']}: {i['tune']['title']}"),
            ('user_nick_publish', lambda i: i['nick']['nick']),
            ('avatar_metadata_publish', lambda i: ' '.join(x.get('id') for x in i['avatar_metadata'].xml)),
            ('pubsub_publish', lambda i: i['payload'].text if i['payload'] is not None else ''),
            ('pubsub_retract', lambda i: ''),
        ]:
            self.add_event_handler(kind, functools.partial(self.on_event, kind, what))
        for kind in 'pubsub_purge', 'pubsub_delete':
            self.add_event_handler(kind, functools.partial(self.on_event, kind, None))

    async def note(self):
        async with self.changed:
            self.changed.notify_all()

    async def wait(self, what, test, within):
        """Waits until test() is true, and returns its value."""
        async def loop():
            async with self.changed:
                while not (v := test()):
                    await self.changed.wait()
                return v
        try:
            return await asyncio.wait_for(loop(), within)
        except asyncio.TimeoutError:
            raise Exception(f'no {what} within {within} s; messages {self.messages}, presence {self.there}, '
                            f'gone {self.gone}, requests {self.requests}, roster pushes {self.pushes}') from None

    async def on_message(self, m):
        if m['type'] in ('chat', 'normal') and m['body']:
            stamp = m['delay']['stamp'].isoformat() if m.get_plugin('delay', check=True) is not None else None
            self.messages.append((m['from'].bare, m['body'], stamp))
            await self.note()
        elif m['type'] == 'groupchat' and m['body']:
            self.said.append((str(m['from']), m['body']))
            await self.note()

    async def on_error(self, m):
        self.errors.append((m['from'].bare, m['error']['condition']))
        await self.note()

    async def on_here(self, p):
        self.gone.discard(p['from'].bare)
        self.there[p['from'].full] = (p['show'] or 'online', p['status'])
        await self.note()

    async def on_gone(self, p):
        for full in [f for f in self.there if f == p['from'].full or not p['from'].resource and slixmpp.JID(f).bare == p['from'].bare]:
            del self.there[full]
        if not any(slixmpp.JID(f).bare == p['from'].bare for f in self.there):
            self.gone.add(p['from'].bare)
        await self.note()

    async def on_request(self, p):
        self.requests.add(p['from'].bare)
        await self.note()

    async def on_answer(self, p):
        self.answers.append((p['from'].bare, p['type']))
        await self.note()

    async def on_roster(self, iq):
        for jid, item in iq['roster']['items'].items():
            self.pushes.append((slixmpp.JID(jid).bare, item['subscription'], item['name']))
        await self.note()

    async def on_event(self, kind, what, m):
        if what is None:
            self.events.append((kind, m['from'].bare, m['pubsub_event'][kind.split('_')[1]]['node'], '', ''))
        else:
            items = m['pubsub_event']['items']
            for i in items:
                self.events.append((kind, m['from'].bare, items['node'], i['id'], what(i)))
        await self.note()

    async def on_carbon_received(self, m):
        m = m['carbon_received']
        self.carbons.append(('received', m['from'].bare, m['body']))
        await self.note()

    async def on_carbon_sent(self, m):
        m = m['carbon_sent']
        self.carbons.append(('sent', m['to'].bare, m['body']))
        await self.note()

    async def on_resumed(self, _):
        self.resumed += 1
        await self.note()

    async def on_end(self, why=None):
        if self.back:
            self.connect(*self.back)
            return
        self.ended = self.ended or str(why or 'disconnected')
        await self.note()

    async def on_certificate(self, error):
        self.ended = f'certificate: {error}'
        await self.note()

    async def on_failed(self, failure):
        self.ended = 'login failed: ' + failure['condition']
        await self.note()


class Commands:
    """Each method is a command; a is its line."""

    def __init__(self):
        self.x = None

    async def login(self, a):
        x = self.x = Agent(a)
        up = asyncio.Event()
        bound = {}

        def started(_):
            bound['jid'] = x.boundjid.full
            up.set()
        x.add_event_handler('session_start', started)
        x.connect(a['host'], a['port'])
        first = asyncio.ensure_future(up.wait())
        last = asyncio.ensure_future(x.wait('end', lambda: x.ended, a.get('within', 15)))
        await asyncio.wait([first, last], return_when=asyncio.FIRST_COMPLETED)
        done = first.done()
        first.cancel()
        last.cancel()
        if not done:
            why = last.exception() if last.done() and not last.cancelled() and last.exception() else x.ended
            x.abort()
            raise Exception(f'no session: {why}')
        await x.get_roster(timeout=10)
        if not a.get('quiet'):
            x.send_presence()
        tls = x.transport.get_extra_info('ssl_object')
        return {'jid': bound['jid'], 'mechanism': x.plugin['feature_mechanisms'].mech.name,
                'tls': tls.version(), 'cipher': tls.cipher()[0], 'verified': tls.context.verify_mode.name == 'CERT_REQUIRED' and tls.context.check_hostname}

    async def logout(self, a):
        x = self.x
        x.back = None
        await x.disconnect(wait=3.0)
        return await x.wait('end', lambda: x.ended, 10)

    async def send(self, a):
        self.x.send_message(mto=a['to'], mbody=a['text'], mtype='chat')

    async def receive(self, a):
        def test():
            return [m for m in self.x.messages if m[0] == a['from'] and m[1] == a['text']]
        m = await self.x.wait(f"message {a['text']!r} from {a['from']}", test, a.get('within', 10))
        return {'count': len(m), 'stamp': m[0][2]}

    async def carbons(self, a):
        await self.x.plugin['xep_0280'].enable(timeout=10)

    async def carbon(self, a):
        want = (a['way'], a['with'], a['text'])
        await self.x.wait(f'carbon {want}', lambda: want in self.x.carbons, a.get('within', 10))
        return self.x.carbons.count(want)

    async def resumed(self, a):
        """Waits until the session was resumed as often."""
        await self.x.wait(f"resumption {a['times']}", lambda: self.x.resumed >= a['times'], a.get('within', 40))
        return self.x.boundjid.full

    async def messages(self, a):
        return self.x.messages

    async def archive(self, a):
        """Pages through the archive, two messages at a time; a may have "with"."""
        found = []
        async for page in self.x.plugin['xep_0313'].retrieve(with_jid=a.get('with'), iterator=True, rsm={'max': 2}):
            for m in page['mam']['results']:
                r = m['mam_result']
                f = r['forwarded']
                found.append({'id': r['id'], 'from': f['stanza']['from'].bare, 'body': f['stanza']['body'], 'stamp': f['delay']['stamp'].isoformat()})
        return found

    async def receive_error(self, a):
        def test():
            return [c for j, c in self.x.errors if j == a['from']]
        return (await self.x.wait(f"error from {a['from']}", test, a.get('within', 10)))[0]

    async def enter(self, a):
        p = self.x.make_presence(pto=f"{a['room']}/{a['nick']}")
        p.append(ET.fromstring("<x xmlns='http://jabber.org/protocol/muc'/>"))
        p.send()
        await self.x.wait(f"place in {a['room']}", lambda: f"{a['room']}/{a['nick']}" in self.x.there, a.get('within', 10))

    async def instant(self, a):
        """Opens a new room with the settings that rooms have here."""
        iq = self.x.make_iq_set(ito=a['room'])
        iq.append(ET.fromstring("<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"))
        await iq.send(timeout=10)

    async def say(self, a):
        self.x.send_message(mto=a['room'], mbody=a['text'], mtype='groupchat')

    async def hears(self, a):
        def test():
            return [s for s in self.x.said if s == (f"{a['room']}/{a['nick']}", a['text'])]
        s = await self.x.wait(f"{a['text']!r} of {a['nick']}, but {self.x.said},", test, a.get('within', 10))
        return {'count': len(s)}

    async def subscribe(self, a):
        self.x.send_presence_subscription(pto=a['to'])

    async def approve(self, a):
        await self.x.wait(f"request of {a['from']}", lambda: a['from'] in self.x.requests, a.get('within', 10))
        self.x.requests.discard(a['from'])
        self.x.send_presence(pto=a['from'], ptype='subscribed')

    async def refuse(self, a):
        await self.x.wait(f"request of {a['from']}", lambda: a['from'] in self.x.requests, a.get('within', 10))
        self.x.requests.discard(a['from'])
        self.x.send_presence(pto=a['from'], ptype='unsubscribed')

    async def answered(self, a):
        want = (a['from'], a['type'])
        await self.x.wait(f'{want}', lambda: want in self.x.answers, a.get('within', 10))

    async def subscription(self, a):
        """Waits until the server's pushes say that a contact has this subscription."""
        def test():
            last = [p for p in self.x.pushes if p[0] == a['jid']]
            return last and last[-1][1] == a['subscription']
        await self.x.wait(f"subscription {a['subscription']} with {a['jid']}", test, a.get('within', 10))

    async def presence(self, a):
        show = a['show']
        if show == 'offline':
            self.x.send_presence(ptype='unavailable')
        else:
            self.x.send_presence(pshow='' if show == 'online' else show, pstatus=a.get('status', ''))

    async def sees(self, a):
        bare, want = a['jid'], a['show']

        def test():
            if want == 'offline':
                return bare in self.x.gone
            return any(slixmpp.JID(f).bare == bare and show == want and a.get('status') in (None, '', status)
                       for f, (show, status) in self.x.there.items())
        await self.x.wait(f'presence {want} {a.get("status", "")!r} of {bare}', test, a.get('within', 10))

    async def full(self, a):
        """The full JIDs of a contact that are there."""
        return [f for f in self.x.there if slixmpp.JID(f).bare == a['jid']]

    async def roster(self, a):
        await self.x.get_roster(timeout=10)  # by version: empty where nothing has changed (RFC 6121 §2.6)
        r = self.x.client_roster
        return {j: {'name': r[j]['name'], 'subscription': r[j]['subscription'], 'groups': sorted(r[j]['groups'])}
                for j in r if j != self.x.boundjid.bare}

    async def add(self, a):
        await self.x.update_roster(a['jid'], name=a.get('name'), groups=a.get('groups', []), timeout=10)

    async def remove(self, a):
        await self.x.del_roster_item(a['jid'])

    async def ping(self, a):
        return await self.x.plugin['xep_0199'].ping(a.get('to') or None, timeout=10)

    async def version(self, a):
        iq = await self.x.plugin['xep_0092'].get_version(a['to'], timeout=10)
        return {'name': iq['software_version']['name'], 'version': iq['software_version']['version']}

    async def time(self, a):
        iq = await self.x.plugin['xep_0202'].get_entity_time(a['to'], timeout=10)
        # As text: the library puts a second Z behind what the standard has end in one.
        return iq['entity_time']._get_sub_text('utc')

    async def last(self, a):
        iq = await self.x.plugin['xep_0012'].get_last_activity(a['to'], timeout=10)
        return {'seconds': iq['last_activity']['seconds'], 'status': iq['last_activity']['status']}

    async def features(self, a):
        iq = await self.x.plugin['xep_0030'].get_info(jid=a['to'], timeout=10)
        return sorted(iq['disco_info']['features'])

    async def set_vcard(self, a):
        v = self.x.plugin['xep_0054'].make_vcard()
        v['FN'] = a['name']
        v['NICKNAME'] = a['nick']
        await self.x.plugin['xep_0054'].publish_vcard(vcard=v, timeout=10)

    async def vcard(self, a):
        iq = await self.x.plugin['xep_0054'].get_vcard(jid=a['jid'], timeout=10)
        return {'name': iq['vcard_temp']['FN'], 'nick': iq['vcard_temp']['NICKNAME']}

    async def block(self, a):
        await self.x.plugin['xep_0191'].block(a['jid'], timeout=10)

    async def unblock(self, a):
        await self.x.plugin['xep_0191'].unblock(a['jid'], timeout=10)

    async def blocked(self, a):
        return sorted(str(j) for j in await self.x.plugin['xep_0191'].get_blocked_jids(timeout=10))

    # What follows is of an agent that has logged in with "pubsub".

    async def event(self, a):
        """Waits for a notification; a has the beginning of [kind, from, node, item, what], where null is anything."""
        def test():
            return [e for e in self.x.events if all(w is None or w == g for w, g in zip(a['like'], e))]
        return (await self.x.wait(f"event {a['like']} among {self.x.events}", test, a.get('within', 10)))[-1]

    async def mood(self, a):
        await self.x.plugin['xep_0107'].publish_mood(a['value'], a['text'])

    async def tune(self, a):
        await self.x.plugin['xep_0118'].publish_tune(artist=a['artist'], title=a['title'])

    async def nick(self, a):
        await self.x.plugin['xep_0172'].publish_nick(a['nick'])

    async def avatar(self, a):
        """Publishes a picture for all (XEP-0084), and returns its id."""
        data = base64.b64decode(a['data'])
        options = self.options(access_model='open')
        await self.x.plugin['xep_0084'].publish_avatar(data, options=options)
        id = hashlib.sha1(data).hexdigest()
        await self.x.plugin['xep_0084'].publish_avatar_metadata({'id': id, 'type': 'image/png', 'bytes': len(data)}, options=options)
        return id

    async def avatar_of(self, a):
        iq = await self.x.plugin['xep_0084'].retrieve_avatar(a['jid'], a['id'])
        return base64.b64encode(iq['pubsub']['items']['item']['avatar_data']['value']).decode()

    async def photo(self, a):
        iq = await self.x.plugin['xep_0054'].get_vcard(jid=a['jid'], timeout=10)
        return {'type': iq['vcard_temp']['PHOTO']['TYPE'], 'data': base64.b64encode(iq['vcard_temp']['PHOTO']['BINVAL']).decode()}

    async def set_photo(self, a):
        v = self.x.plugin['xep_0054'].make_vcard()
        v['FN'] = a['name']
        v['PHOTO']['TYPE'] = 'image/png'
        v['PHOTO']['BINVAL'] = base64.b64decode(a['data'])
        await self.x.plugin['xep_0054'].publish_vcard(vcard=v, timeout=10)

    def options(self, **fields):
        form = self.x.plugin['xep_0004'].make_form(ftype='submit')
        form.add_field(var='FORM_TYPE', ftype='hidden', value='http://jabber.org/protocol/pubsub#publish-options')
        for k, v in fields.items():
            form.add_field(var='pubsub#' + k, value=v)
        return form

    async def bookmark(self, a):
        c = slixmpp.plugins.xep_0402.stanza.Conference()
        c['name'], c['autojoin'], c['nick'] = a['name'], True, a['nick']
        await self.x.plugin['xep_0060'].publish(None, 'urn:xmpp:bookmarks:1', id=a['room'], payload=c, options=self.options(
            persist_items='true', max_items='max', send_last_published_item='never', access_model='whitelist'))

    async def bookmarks(self, a):
        iq = await self.x.plugin['xep_0060'].get_items(None, 'urn:xmpp:bookmarks:1')
        return {i['id']: [i['conference']['name'], i['conference']['autojoin'], i['conference']['nick']] for i in iq['pubsub']['items']}

    async def create(self, a):
        form = self.x.plugin['xep_0004'].make_form(ftype='submit')
        form.add_field(var='FORM_TYPE', ftype='hidden', value='http://jabber.org/protocol/pubsub#node_config')
        for k, v in a.get('config', {}).items():
            form.add_field(var='pubsub#' + k, value=v)
        await self.x.plugin['xep_0060'].create_node(a['at'], a['node'], config=form)

    async def node_config(self, a):
        iq = await self.x.plugin['xep_0060'].get_node_config(a['at'], a['node'])
        return {k: str(v) for k, v in iq['pubsub_owner']['configure']['form'].get_values().items()}

    async def follow(self, a):
        iq = await self.x.plugin['xep_0060'].subscribe(a['at'], a['node'])
        return iq['pubsub']['subscription']['subscription']

    async def unfollow(self, a):
        await self.x.plugin['xep_0060'].unsubscribe(a['at'], a['node'])

    async def publish(self, a):
        x = slixmpp.xmlstream.ET.Element('{urn:example:note}note')
        x.text = a['text']
        iq = await self.x.plugin['xep_0060'].publish(a['at'], a['node'], id=a.get('id'), payload=x)
        return iq['pubsub']['publish']['item']['id']

    async def items(self, a):
        iq = await self.x.plugin['xep_0060'].get_items(a['at'], a['node'], max_items=a.get('max'))
        return [[i['id'], i['payload'].text] for i in iq['pubsub']['items']]

    async def retract(self, a):
        await self.x.plugin['xep_0060'].retract(a['at'], a['node'], a['id'], notify=True)

    async def purge(self, a):
        await self.x.plugin['xep_0060'].purge(a['at'], a['node'])

    async def delete(self, a):
        await self.x.plugin['xep_0060'].delete_node(a['at'], a['node'])

    async def nodes(self, a):
        iq = await self.x.plugin['xep_0060'].get_nodes(a['at'])
        return sorted(i[1] for i in iq['disco_items']['items'] if i[1])

    async def subscriptions(self, a):
        iq = await self.x.plugin['xep_0060'].get_subscriptions(a['at'])
        return [[s['node'], s['subscription']] for s in iq['pubsub']['subscriptions']]

    async def affiliate(self, a):
        await self.x.plugin['xep_0060'].modify_affiliations(a['at'], a['node'], affiliations=[(a['jid'], a['affiliation'])])

    async def affiliations(self, a):
        iq = await self.x.plugin['xep_0060'].get_node_affiliations(a['at'], a['node'])
        return {str(x['jid']): x['affiliation'] for x in iq['pubsub_owner']['affiliations']}


async def main():
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    commands = Commands()
    while line := await reader.readline():
        a = json.loads(line)
        try:
            answer = {'result': await getattr(commands, a['do'])(a)}
        except IqError as e:
            answer = {'error': f"{e.condition} ({e.text})"}
        except IqTimeout:
            answer = {'error': 'no answer came'}
        except Exception as e:  # whatever it is, the test is to know of it
            answer = {'error': f'{type(e).__name__}: {e}'}
        print(json.dumps(answer), flush=True)


logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
asyncio.run(main())
