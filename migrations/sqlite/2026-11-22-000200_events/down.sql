drop index connections_expiring;
drop index connections_waiting;
drop table events;
alter table connections drop column event_sequence;
