"""Libervia, whose backend this program starts on the session's bus, told over D-Bus what to do, as its own front ends tell it.

    dbus-run-session -- /usr/bin/python3 libervia.py FOLDER     the folder of Libervia's sources

One line of standard input is one command, an object of JSON with "do" and its arguments; one line of standard output is its
answer: {"result": ...} or {"error": "..."}. What the backend logs goes to standard error.
"""

import json
import subprocess
import sys
import time

import dbus
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

NAME = 'org.libervia.Libervia'


class Commands:
    """Each method is a command; a is its line. Most have "profile", the name of the person, and "service" and "node"."""

    def __init__(self, folder):
        self.events = []  # [profile, service, node, kind, what]
        self.backend = subprocess.Popen(['/usr/bin/python3', f'{folder}/launcher.py', 'foreground'], stdin=subprocess.DEVNULL, stdout=sys.stderr)
        self.bus = dbus.SessionBus()
        self.bus.add_signal_receiver(self.on_event, 'psEvent', NAME + '.plugin')

    def on_event(self, category, service, node, kind, what, profile):
        self.events.append([str(x) for x in (profile, service, node, kind)] + [json.loads(what)])

    def call(self, interface, method, *args):
        x = self.bus.get_object(NAME, '/org/libervia/Libervia/bridge')
        return dbus.Interface(x, f'{NAME}.{interface}').get_dbus_method(method)(*args, timeout=40)

    def plugin(self, method, *args):
        return self.call('plugin', method, *args)

    def wait(self, what, test, within):
        end = time.monotonic() + within
        while not (v := test()):
            if time.monotonic() > end:
                raise Exception(f'no {what} within {within} s')
            GLib.MainContext.default().iteration(False)
            time.sleep(0.02)
        return v

    def ready(self, a):
        def test():
            if self.backend.poll() is not None:
                raise Exception(f'the backend ended with {self.backend.returncode}')
            return self.bus.name_has_owner(NAME)
        self.wait('backend', test, a['within'])
        self.call('core', 'getReady')

    def login(self, a):
        profile, password = a['profile'], a['password']
        self.call('core', 'profileCreate', profile, password, '')
        self.call('core', 'profileStartSession', password, profile)
        for name, value in ('JabberID', a['jid']), ('Password', password), ('Force server', a['host']), ('Force port', a['port']):
            self.call('core', 'setParam', name, value, 'Connection', -1, profile)
        self.call('core', 'connect', profile, password, dbus.Dictionary({}, signature='ss'))

    def publish(self, a):
        """Writes a post or a comment, and returns its id."""
        what = {k: a[k] for k in ('title', 'tags', 'allow_comments') if k in a}
        return self.plugin('mbSend', a['service'], a['node'], json.dumps(what | {'content_rich': a['text']}), a['profile'])

    def read(self, a):
        """The posts as they are on the server now, the newest first."""
        extra = json.dumps({'rsm_max': '10', 'use_cache': False})
        return json.loads(self.plugin('mbGet', a['service'], a['node'], -1, dbus.Array([], signature='s'), extra, a['profile']))['items']

    def retract(self, a):
        self.plugin('psItemRetract', a['service'], a['node'], a['id'], True, a['profile'])

    def configure(self, a):
        self.plugin('psNodeConfigurationSet', a['service'], a['node'], {'pubsub#' + k: v for k, v in a['config'].items()}, a['profile'])

    def follow(self, a):
        options = {'{urn:xmpp:pps:0}public': True} if a.get('public') else {}
        self.plugin('psSubscribe', a['service'], a['node'], json.dumps(options), a['profile'])

    def follows(self, a):
        """What somebody follows for all to see: pairs of service and node."""
        return [[s['service'], s['node']] for s in json.loads(self.plugin('psPublicSubscriptionsGet', a['of'], '', a['profile']))]

    def followers(self, a):
        """Who follows a node for all to see."""
        return sorted(self.plugin('psPublicNodeSubscriptionsGet', a['service'], a['node'], a['profile']))

    def unfollow(self, a):
        self.plugin('psUnsubscribe', a['service'], a['node'], a['profile'])

    def followed(self, a):
        return [s['node'] for s in json.loads(self.plugin('psSubscriptionsGet', a['service'], '', a['profile']))]

    def event(self, a):
        """Waits for notifications of a kind about an item, publish or retract, and returns what they say."""
        want = [a['profile'], a['service'], a['node'], a['kind']]
        return self.wait(f'{a["kind"]} of {a["id"]} among {self.events}', lambda: [e[4] for e in self.events if e[:4] == want and e[4]['id'] == a['id']], a['within'])

    def end(self):
        self.backend.terminate()
        self.backend.wait(10)


DBusGMainLoop(set_as_default=True)
commands = Commands(sys.argv[1])
for line in sys.stdin:
    a = json.loads(line)
    try:
        answer = {'result': getattr(commands, a['do'])(a)}
    except Exception as e:  # whatever it is, the test is to know of it
        answer = {'error': f'{type(e).__name__}: {e}'}
    print(json.dumps(answer), flush=True)
commands.end()
