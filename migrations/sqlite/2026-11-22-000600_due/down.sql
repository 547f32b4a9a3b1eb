alter table credentials drop column provider_id;
