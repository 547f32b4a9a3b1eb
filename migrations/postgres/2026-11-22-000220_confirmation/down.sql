drop table confirmations;
alter table consents drop column require_confirmation;
