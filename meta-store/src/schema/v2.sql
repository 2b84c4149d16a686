-- SPDX-License-Identifier: Apache-2.0
-- Never edit a released step: add a new one.

-- A layer may be kept in more than one form; what schema 1 knew are trees.
CREATE TABLE layers_by_form (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    diff_id TEXT NOT NULL,
    form TEXT NOT NULL,
    blob_digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    notes BLOB NOT NULL,
    disk_bytes INTEGER,
    boot TEXT,
    unwanted INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    UNIQUE (diff_id, form)
) STRICT;

INSERT INTO layers_by_form (id, diff_id, form, blob_digest, bytes, entries, notes, boot, unwanted, created)
    SELECT id, diff_id, 'tree', blob_digest, bytes, entries, notes, boot, unwanted, created FROM layers;

DROP TABLE layers;
ALTER TABLE layers_by_form RENAME TO layers;

-- A mount needs its layers in one form; an image in whichever there is.
ALTER TABLE mounts ADD COLUMN form TEXT NOT NULL DEFAULT 'tree';

CREATE TABLE merged (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    chain_id TEXT NOT NULL,
    block_size INTEGER NOT NULL,
    disk_bytes INTEGER NOT NULL,
    boot TEXT,
    created INTEGER NOT NULL,
    UNIQUE (chain_id, block_size)
) STRICT;

CREATE TABLE merged_layers (
    merged INTEGER NOT NULL REFERENCES merged (id) ON DELETE CASCADE,
    layer INTEGER NOT NULL REFERENCES layers (id),
    PRIMARY KEY (merged, layer)
) STRICT;

CREATE INDEX merged_layers_by_layer ON merged_layers (layer);

CREATE TABLE merged_devices (
    merged INTEGER NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    file TEXT NOT NULL,
    start INTEGER NOT NULL,
    PRIMARY KEY (merged, position),
    FOREIGN KEY (merged, layer) REFERENCES merged_layers (merged, layer) ON DELETE CASCADE
) STRICT;

-- The devices of a merged image are files of its layers: it goes when the first of them goes.
CREATE TRIGGER merged_goes_with_its_layers BEFORE DELETE ON layers BEGIN
    DELETE FROM merged WHERE id IN (SELECT merged FROM merged_layers WHERE layer = OLD.id);
END;
