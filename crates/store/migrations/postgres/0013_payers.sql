-- What a source is called and who pays for it are told with its groups, and kept with its revision.
drop trigger source_altered on sources;
create trigger source_altered before update of tenant_id, name, account, enabled, removed_at on sources
    for each row execute function source_altered();
