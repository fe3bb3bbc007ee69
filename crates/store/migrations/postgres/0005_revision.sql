-- Each source counts how often the way it stands changed, so that a look reads anew only what changed since the last
-- one: docs/decisions/0007-status.md. Triggers count, because nobody who writes may forget it.

alter table sources add column revision bigint not null default 0;
comment on column sources.revision is
    'Counts changes of what is told of the source''s groups, but for what a sync under way does.';

-- After a row with a source_id was written.
create function source_changed() returns trigger language plpgsql as $$
begin
    update sources set revision = revision + 1
        where id = case when tg_op = 'DELETE' then old.source_id else new.source_id end;
    return null;
end $$;

-- After a statement that added many rows with a source_id.
create function sources_changed() returns trigger language plpgsql as $$
begin
    update sources set revision = revision + 1 where id in (select source_id from added);
    return null;
end $$;

create function source_altered() returns trigger language plpgsql as $$
begin
    new.revision = old.revision + 1;
    return new;
end $$;

create function tenant_altered() returns trigger language plpgsql as $$
begin
    update sources set revision = revision + 1 where tenant_id = new.id;
    return null;
end $$;

create trigger source_altered before update of tenant_id, enabled, removed_at on sources
    for each row execute function source_altered();
create trigger tenant_altered after update of name, revoked_at on tenants
    for each row execute function tenant_altered();
create trigger standing_written after insert or update or delete on standings
    for each row execute function source_changed();
create trigger schedule_written after insert or update or delete on schedules
    for each row execute function source_changed();
create trigger sync_asked_for after insert on syncs
    for each row when (new.trigger = 'manual') execute function source_changed();
create trigger partitions_added after insert on partitions
    referencing new table as added for each statement execute function sources_changed();
create trigger partition_altered after update on partitions
    for each row when (
        (old.active, old.is_valid, old.title, old.error_code, old.error_detail)
            is distinct from (new.active, new.is_valid, new.title, new.error_code, new.error_detail)
    ) execute function source_changed();
create trigger partition_removed after delete on partitions
    for each row execute function source_changed();
