-- Those who have bookmarks here that belong to the nodes of their account.
CREATE INDEX private_xml_bookmarks ON private_xml (account) WHERE space = 'storage:bookmarks';
