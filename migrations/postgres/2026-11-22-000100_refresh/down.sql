alter table consents drop column completed_at;
drop index credentials_due_at;
alter table credentials drop column due_at;
