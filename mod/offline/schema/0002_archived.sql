-- Messages that the archive of the account has as well: who reads that does not need them.
ALTER TABLE offline_message ADD COLUMN archived BIGINT NOT NULL DEFAULT 0;
