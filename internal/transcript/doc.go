// Package transcript owns the conversation scripts: their grammar, their comparison of stanzas, and running them against
// any XMPP server. Files end in .xt; plain .scs files of Prosody's scansion are read as well.
//
//	# Title
//	# A line or more of description.
//	## a tag, such as "slow", "only: tcp", "config: auth.plain = true" or "without: urn:example"
//	# spec: XEP-0199#s2c
//	# feature: urn:xmpp:ping
//
//	[Client] Romeo
//		jid: romeo@localhost/orchard
//		password: password
//
//	[Client] Juliet's phone
//		jid: juliet@localhost
//		password: password
//
//	-----
//
//	Romeo connects
//
//	Romeo sends:
//		<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>
//
//	Romeo receives:
//		<iq type='result' id='1'/>
//
//	Romeo disconnects
//
// # Characters
//
// Each has a kind in brackets and a name, which may have spaces and apostrophes, and below it indented properties: jid and
// password for a [Client], and at will connect_host and connect_port, which count only where the target has no address of
// its own. Without a resource the server chooses one; ${Romeo's full JID} tells which. Two characters of one bare JID are
// two resources of one account. Accounts are dealt out by the target: the addresses of the script stand for them and are
// replaced wherever they occur, and so is the domain of the script's accounts, alone and below a service's name
// (conference.localhost). So a script names its accounts as it likes. A localpart that no character has, such as
// nobody@localhost, stays as it is.
//
// A [Server] is another server, of which the script plays every word. It has a domain, which stands for one that the target
// makes and whose DNS records lead to the script, and at will a certificate that is not a good one: self-signed, expired, other (of
// another domain) or none. Two of one domain are two connections of it. What a [Server] sends and receives is written as
// of jabber:client, and is of jabber:server on the wire; the prefix db is that of dialback. A stream header is an element to
// it, <stream:stream/>.
//
// # Actions
//
//	Romeo connects                 logs in and binds a resource; no presence is sent
//	Romeo opens                    connects and encrypts; the stream is open and its features were received
//	Romeo opens to DOMAIN          likewise, with this as the address of the stream
//	Romeo authenticates            opens where that has not been done, logs in, and binds nothing
//	Romeo is offered:              the stream features, of the latest opening, have what stands below
//	Romeo sends:                   the elements below, each one a stanza or nonza
//	Romeo sends raw:               the text below as it is, but for indentation and line ends; over WebSocket as one frame
//	Romeo receives:                the next elements for Romeo match those below, in order
//	Romeo receives: nothing        nothing comes for half a second; also: Romeo receives nothing [for 2s]
//	Romeo disconnects              closes the stream in good order
//	Romeo drops                    cuts the connection without a word
//	Romeo is disconnected          the server closes the stream or the connection, and sends nothing before
//	Romeo resumes                  logs in and resumes the session that <enabled/> has named, up to and with <resumed/>
//	together:                      the receives below, indented, each client's in any order
//	capture ${id}                  forgets ${id}, so that the next receive captures it anew
//	node 2 stops, node 2 starts    for clusters; a target of one node refuses
//
// And for a [Server]:
//
//	Capulet dials                  connects, no more; also: dials with TLS
//	Capulet opens                  connects and encrypts; features were received behind the encryption
//	Capulet connects               and proves its domain by certificate; also: authenticates
//	Capulet accepts raw            takes the next connection that the target makes to its domain
//	Capulet accepts                and encrypts, and answers the header behind the encryption; the features are for the script
//	Capulet opens the stream       sends a stream header, with an id where the target has connected
//	Capulet starts TLS             makes the handshake, in the role that the connection gives
//
// Where the server answers the opening with a stream error, that is what is received next.
// A session to resume is told how many stanzas the script has received since <enabled/>; what came and was not received is
// sent again. Requests for acknowledgement (<r/>) are passed over but where one is expected.
// Within one bare JID or several, "receives" skips nothing: it takes the next element of that client, as scansion does.
// Lines that start with #, // or -- are comments, a line of dashes parts characters and actions, <!-- --> parts nothing.
//
// # Comparison
//
// In jabber:client, and in the namespace of streams, comparison is lax: further attributes and child elements of what
// came are ignored, and so is their order. In other namespaces it is strict: attributes, children and their order are the
// same. The attribute scansion:strict, 'true' or 'false', changes that for an element and what is in it of the same
// namespace. Text is compared without the white space around it; where lax comparison expects none, any will do. In .xt
// files a presence that shows no type matches only an available one.
//
// In attribute values and text:
//
//	{any}, {scansion:any}      anything, but present; also within a longer value: 'room@{any}/nick'
//	${id}                      where it was captured: that; else it captures what stands there
//	{scansion:capture:id}      likewise, and always captures
//	${Romeo's JID}             the bare JID
//	${Romeo's full JID}        the full JID, once connected
//	${Romeo's password}, {password}   the password of the account; {password} that of the acting character
//	${Capulet's stream}        the id of the stream, given by whoever was connected to
//	${Capulet's address}       where connections to its domain arrive: host:port
//	{plain}                    the message of SASL PLAIN of the acting character, in base64
//	{htexpr}, {htendp}, {htnone}   those of HT-SHA-256-EXPR, -ENDP and -NONE (XEP-0484) with what was captured as ${token}
//	{htnone:other}             likewise, with what was captured as ${other}
//	{domain}                   the domain of the target
//	{user1}, {user2}           the bare JIDs of the accounts, in the order of the characters; {user1}@… is the localpart
package transcript
