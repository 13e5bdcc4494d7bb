"""Answers what libexpat, reading with namespaces, makes of XML.

One request a line: {"xml": hex, "final": bool}. One answer a line: {"error": text or null, "code": number, "tree": element}.
An element is [namespace, local name, [[namespace, local name, value], ...], [child, ...]]; a child is an element or a string.
Where final is false the elements that are still open are part of the tree.
"""

import json
import sys
from xml.parsers import expat

SEPARATOR = "\x01"  # can stand in no namespace


def expanded(name):
    space, _, local = name.rpartition(SEPARATOR)
    return [space, local]


def read(data, final):
    parser = expat.ParserCreate("UTF-8", SEPARATOR)
    parser.buffer_text = True
    parser.ordered_attributes = True
    if hasattr(parser, "SetReparseDeferralEnabled"):
        parser.SetReparseDeferralEnabled(False)
    document = ["", "", [], []]
    stack = [document]

    def start(name, attrs):
        pairs = zip(attrs[::2], attrs[1::2])
        element = expanded(name) + [[expanded(n) + [v] for n, v in pairs], []]
        stack[-1][3].append(element)
        stack.append(element)

    def text(data):
        nodes = stack[-1][3]
        if nodes and isinstance(nodes[-1], str):
            nodes[-1] += data
        else:
            nodes.append(data)

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: stack.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, final)
    except expat.ExpatError as err:
        return {"error": str(err), "code": err.code, "tree": None}
    return {"error": None, "code": 0, "tree": document[3][0] if document[3] else None}


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(read(bytes.fromhex(request["xml"]), request["final"])), flush=True)
