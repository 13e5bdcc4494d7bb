-- On SQLite the index of conversations becomes a table of its own. Here it stays as it is: what a row changes of it is kept in
-- memory, and the log that is synced has the row, not the page.
COMMENT ON INDEX archive_entry_peer IS 'conversations: what an archive has from and to one address';
