-- SPDX-License-Identifier: Apache-2.0
-- A catalogue as schema 1 was released, with one image of two layers and one mount. Never edited: later versions must
-- open it.
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

INSERT INTO layers (diff_id, blob_digest, bytes, entries, notes, boot, unwanted, created) VALUES
    ('sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4', 'sha256:8a2a1ace46773bf15c356bc32d21dde7ceee320db257153b794843c541368321', 10240, 3, X'01', NULL, 0, 1790000000),
    ('sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9', 'sha256:55d3c67b147dc3e05561fda028ec1006eacf98f802aefe5f4f0b61dbb5a0638f', 20480, 5, X'', NULL, 0, 1790000001);

INSERT INTO images VALUES (
    'docker.io/library/busybox:latest',
    'sha256:2814ba1ae47e21f6f49e55683952d32eecba42333f12c643494aa1abcc173a0a',
    'sha256:b802ab9f53cad6bd4004f3c99d9ae71d7a8ff28686bbdc04a30862ee255374dc',
    'sha256:dd2ee8cde8cd12200df7b390f4699a63690032fcbb6f9c7c73ed0297520889b7',
    X'74686520696e646578',
    X'746865206d616e6966657374',
    X'7b22617263686974656374757265223a22616d643634222c226f73223a226c696e7578222c22726f6f746673223a7b2274797065223a226c6179657273222c22646966665f696473223a5b227368613235363a38633666623165396533376131616561316433303863373835313932653161313764373163656630386337663530613638643265306162323932623265376634222c227368613235363a61656536313035353832393230323337353861343232396464636637356631363763393930343331336138336366373935323332656437663765323133316339225d7d7d',
    'linux/amd64', 4096, 1790000002, 1790000003);

INSERT INTO image_layers VALUES
    ('docker.io/library/busybox:latest', 0, 'sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4'),
    ('docker.io/library/busybox:latest', 1, 'sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9');

INSERT INTO mounts VALUES
    ('00112233445566778899aabbccddeeff', CAST('/run/bundle' AS BLOB), 'overlay', 'docker.io/library/busybox:latest', 1790000004);

INSERT INTO mount_layers VALUES
    ('00112233445566778899aabbccddeeff', 0, 'sha256:8c6fb1e9e37a1aea1d308c785192e1a17d71cef08c7f50a68d2e0ab292b2e7f4'),
    ('00112233445566778899aabbccddeeff', 1, 'sha256:aee610558292023758a4229ddcf75f167c9904313a83cf795232ed7f7e2131c9');

PRAGMA application_id = 1768777571;
PRAGMA user_version = 1;
