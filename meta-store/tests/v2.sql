-- SPDX-License-Identifier: Apache-2.0
-- A catalogue as schema 2 was released, come from one of schema 1: an image of two layers in both forms, merged, and one
-- mount. Never edited: later versions must open it.
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

CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images (name) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) STRICT;

CREATE TABLE mounts (
    id TEXT NOT NULL PRIMARY KEY,
    bundle BLOB NOT NULL UNIQUE,
    snapshotter TEXT NOT NULL,
    image TEXT NOT NULL,
    created INTEGER NOT NULL
, form TEXT NOT NULL DEFAULT 'tree') STRICT;

CREATE TABLE mount_layers (
    mount TEXT NOT NULL REFERENCES mounts (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (mount, position)
) STRICT;

CREATE TABLE "layers" (
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

CREATE TABLE merged_devices (
    merged INTEGER NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    file TEXT NOT NULL,
    start INTEGER NOT NULL,
    PRIMARY KEY (merged, position),
    FOREIGN KEY (merged, layer) REFERENCES merged_layers (merged, layer) ON DELETE CASCADE
) STRICT;

CREATE INDEX images_by_manifest ON images (manifest_digest);

CREATE INDEX images_by_top ON images (top_digest);

CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);

CREATE INDEX mount_layers_by_diff_id ON mount_layers (diff_id);

CREATE INDEX merged_layers_by_layer ON merged_layers (layer);

CREATE TRIGGER merged_goes_with_its_layers BEFORE DELETE ON layers BEGIN
    DELETE FROM merged WHERE id IN (SELECT merged FROM merged_layers WHERE layer = OLD.id);
END;

INSERT INTO images (name, top_digest, manifest_digest, config_digest, top, manifest, config, platform, size, created, last_used) VALUES
    ('docker.io/library/busybox:latest', 'sha256:2814ba1ae47e21f6f49e55683952d32eecba42333f12c643494aa1abcc173a0a', 'sha256:b802ab9f53cad6bd4004f3c99d9ae71d7a8ff28686bbdc04a30862ee255374dc', 'sha256:dd2ee8cde8cd12200df7b390f4699a63690032fcbb6f9c7c73ed0297520889b7', X'74686520696E646578', X'746865206D616E6966657374', X'7B22617263686974656374757265223A22616D643634222C226F73223A226C696E7578222C22726F6F746673223A7B2274797065223A226C6179657273222C22646966665F696473223A5B227368613235363A38633666623165396533376131616561316433303863373835313932653161313764373163656630386337663530613638643265306162323932623265376634222C227368613235363A61656536313035353832393230323337353861343232396464636637356631363763393930343331336138336366373935323332656437663765323133316339225D7D7D', 'linux/amd64', 4096, 1790000002, 1790000003);

INSERT INTO layers (id, diff_id, form, blob_digest, bytes, entries, notes, disk_bytes, boot, unwanted, created) VALUES
    (1, 'sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4', 'tree', 'sha256:8a2a1ace46773bf15c356bc32d21dde7ceee320db257153b794843c541368321', 10240, 3, X'01', 12288, NULL, 0, 1790000000);

INSERT INTO layers (id, diff_id, form, blob_digest, bytes, entries, notes, disk_bytes, boot, unwanted, created) VALUES
    (2, 'sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9', 'tree', 'sha256:55d3c67b147dc3e05561fda028ec1006eacf98f802aefe5f4f0b61dbb5a0638f', 20480, 5, X'', NULL, NULL, 0, 1790000001);

INSERT INTO layers (id, diff_id, form, blob_digest, bytes, entries, notes, disk_bytes, boot, unwanted, created) VALUES
    (3, 'sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4', 'erofs', 'sha256:8a2a1ace46773bf15c356bc32d21dde7ceee320db257153b794843c541368321', 10240, 3, X'01', 18432, NULL, 0, 1790000000);

INSERT INTO layers (id, diff_id, form, blob_digest, bytes, entries, notes, disk_bytes, boot, unwanted, created) VALUES
    (4, 'sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9', 'erofs', 'sha256:55d3c67b147dc3e05561fda028ec1006eacf98f802aefe5f4f0b61dbb5a0638f', 20480, 5, X'', 28672, NULL, 0, 1790000001);

INSERT INTO image_layers (image, position, diff_id) VALUES
    ('docker.io/library/busybox:latest', 0, 'sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4');

INSERT INTO image_layers (image, position, diff_id) VALUES
    ('docker.io/library/busybox:latest', 1, 'sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9');

INSERT INTO mounts (id, bundle, snapshotter, image, created, form) VALUES
    ('00112233445566778899aabbccddeeff', X'2F72756E2F62756E646C65', 'erofs', 'docker.io/library/busybox:latest', 1790000004, 'erofs');

INSERT INTO mount_layers (mount, position, diff_id) VALUES
    ('00112233445566778899aabbccddeeff', 0, 'sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4');

INSERT INTO mount_layers (mount, position, diff_id) VALUES
    ('00112233445566778899aabbccddeeff', 1, 'sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9');

INSERT INTO merged (id, name, chain_id, block_size, disk_bytes, boot, created) VALUES
    (1, 'ffeeddccbbaa99887766554433221100', 'sha256:9a046299474e7de653e0cfa4fb0235874d4f2268118e405be34103c20eeed39c', 512, 4096, NULL, 1790000005);

INSERT INTO merged_layers (merged, layer) VALUES
    (1, 3);

INSERT INTO merged_layers (merged, layer) VALUES
    (1, 4);

INSERT INTO merged_devices (merged, position, layer, file, start) VALUES
    (1, 0, 3, 'tar', 2560);

INSERT INTO merged_devices (merged, position, layer, file, start) VALUES
    (1, 1, 4, 'tar', 2560);

PRAGMA application_id = 1768777571;
PRAGMA user_version = 2;
