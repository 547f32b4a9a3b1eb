-- When a broker looks at a credential by itself: first ahead of its expiry,
-- then whenever another attempt may be made. Absent: never.
alter table credentials add column due_at timestamptz;
update credentials set due_at = refresh_at;
create index credentials_due_at on credentials (due_at) where due_at is not null;

-- When a consent's credential was stored: an answer that is replayed from the
-- journal is stored once.
alter table consents add column completed_at timestamptz;
