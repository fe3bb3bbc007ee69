-- Each source counts how often the way it stands changed, so that a look reads anew only what changed since the last
-- one: docs/decisions/0007-status.md. Triggers count, because nobody who writes may forget it.

alter table sources add column
    revision /* Counts changes of what is told of its groups, but for what a sync does. */ bigint not null default 0;

create trigger source_altered after update of tenant_id, enabled, removed_at on sources begin
    update sources set revision = revision + 1 where id = new.id;
end;
create trigger tenant_altered after update of name, revoked_at on tenants begin
    update sources set revision = revision + 1 where tenant_id = new.id;
end;
create trigger standing_added after insert on standings begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger standing_altered after update on standings begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger standing_removed after delete on standings begin
    update sources set revision = revision + 1 where id = old.source_id;
end;
create trigger schedule_added after insert on schedules begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger schedule_altered after update on schedules begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger schedule_removed after delete on schedules begin
    update sources set revision = revision + 1 where id = old.source_id;
end;
create trigger sync_asked_for after insert on syncs when new.trigger = 'manual' begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger partition_added after insert on partitions begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger partition_altered after update on partitions
    when (old.active, old.is_valid, coalesce(old.title, ''), coalesce(old.error_code, ''), coalesce(old.error_detail, ''))
        <> (new.active, new.is_valid, coalesce(new.title, ''), coalesce(new.error_code, ''), coalesce(new.error_detail, ''))
begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger partition_removed after delete on partitions begin
    update sources set revision = revision + 1 where id = old.source_id;
end;
