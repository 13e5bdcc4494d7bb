-- When a message was sent, in microseconds since 1970: what an ended session gives back goes before what came meanwhile.
ALTER TABLE offline_message ADD COLUMN sent BIGINT NOT NULL DEFAULT 0;
CREATE INDEX offline_message_sent ON offline_message (account, sent, id);
