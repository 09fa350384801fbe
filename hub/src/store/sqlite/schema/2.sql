-- Which provider and model a prompt gets whose session names none.
CREATE TABLE routing_rules (
  id TEXT PRIMARY KEY NOT NULL,
  priority INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX routing_rules_in_order ON routing_rules (priority, id);
