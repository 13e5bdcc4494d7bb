-- Of a node of attachments (XEP-0470), the item of the node that it links to.
ALTER TABLE pubsub_node ADD COLUMN attached TEXT NOT NULL DEFAULT '';
CREATE INDEX pubsub_node_attached ON pubsub_node (service, link, attached) WHERE attached <> '';
