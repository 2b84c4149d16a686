-- SPDX-License-Identifier: Apache-2.0
-- Never edit a released step: add a new one.

-- A pinned image goes only when it is removed by its name.
ALTER TABLE images ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;

-- Further digests of an image's documents, each computed from the bytes.
CREATE TABLE image_digests (
    digest TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (name) ON DELETE CASCADE,
    PRIMARY KEY (digest, image)
) STRICT;

CREATE INDEX image_digests_by_image ON image_digests (image);
