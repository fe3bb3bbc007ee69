-- What a source is called and who pays for it are told with its groups, and kept with its revision.
drop trigger source_altered;
create trigger source_altered after update of tenant_id, name, account, enabled, removed_at on sources begin
    update sources set revision = revision + 1 where id = new.id;
end;
