-- What is due in a partition, in the order in which it is read: a partition may have thousands of items that are not.
create index items_due on items (source_id, stream, partition, (base is not null), key)
    where have is distinct from wanted;
