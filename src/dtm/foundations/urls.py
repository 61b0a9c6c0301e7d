"""URLs of storage: what is one, what it may hold, and where this machine works on what it shows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from dtm.foundations.errors import ConfigError


def is_url(place: object) -> bool:
    """Whether a place is a URL rather than a path of this machine."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(place)))


def check_url(url: str, *, where: object = None) -> str:
    """The URL without a trailing slash. Raises ConfigError for one that holds a secret or names no folder."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "a URL of storage holds no user, password or ?query: it is written into run.yaml and logs", where=where,
            mend="Leave them out; credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, "
            "GOOGLE_APPLICATION_CREDENTIALS, ...)",
        )  # fmt: skip
    if not (parts.netloc or parts.path.strip("/")):
        raise ConfigError(f"{url!r} names no bucket or folder", where=where, mend="Write s3://BUCKET/FOLDER")
    if ".." in parts.path.split("/"):
        raise ConfigError(f"{url!r} holds `..`", where=where, mend="Write the folder's own name")
    return url.rstrip("/")


def cached(url: str) -> Path:
    """Where this machine works on what a URL shows: below $DTM_CACHE, else ~/.cache/dtm/remote."""
    parts = urlsplit(check_url(url))
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dtm" / "remote"
    root = Path(os.environ.get("DTM_CACHE") or home).expanduser().absolute()
    return root / parts.scheme.lower() / parts.netloc / parts.path.strip("/")


def parent(url: str) -> str:
    """The URL of the folder above; of a bucket, the bucket."""
    above, _, name = url.rpartition("/")
    return url if above.endswith("/") or not name else above
