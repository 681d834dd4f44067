"""Settings: TOML file, environment and flags, validated once and then frozen.

Where a value comes from, the later winning:

1. the default;
2. the file: ``-c FILE``, else ``IMPACTD_CONFIG``, else ``impactd.toml`` in the working directory if there is one;
3. the environment: ``IMPACTD__SECTION__FIELD``, such as ``IMPACTD__KAFKA__BOOTSTRAP``;
4. flags of the command.

Secrets come from the environment or from the file that their ``_file``
setting names, never from the settings file itself or a flag.
"""

from __future__ import annotations

from impactd.config.base import Section
from impactd.config.sections import Settings
from impactd.config.sources import Loaded, Override, SettingsError, load

__all__ = ["Loaded", "Override", "Section", "Settings", "SettingsError", "load"]
