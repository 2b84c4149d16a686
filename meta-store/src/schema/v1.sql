-- SPDX-License-Identifier: Apache-2.0
-- Never edit a released step: add a new one.

CREATE TABLE layers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    diff_id TEXT NOT NULL UNIQUE,
    blob_digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    notes BLOB NOT NULL,
    boot TEXT,
    unwanted INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE images (
    name TEXT NOT NULL PRIMARY KEY,
    top_digest TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    top BLOB,
    manifest BLOB NOT NULL,
    config BLOB NOT NULL,
    platform TEXT NOT NULL,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT;

CREATE INDEX images_by_manifest ON images (manifest_digest);
CREATE INDEX images_by_top ON images (top_digest);

CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images (name) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) STRICT;

CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);

CREATE TABLE mounts (
    id TEXT NOT NULL PRIMARY KEY,
    bundle BLOB NOT NULL UNIQUE,
    snapshotter TEXT NOT NULL,
    image TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE mount_layers (
    mount TEXT NOT NULL REFERENCES mounts (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (mount, position)
) STRICT;

CREATE INDEX mount_layers_by_diff_id ON mount_layers (diff_id);
