"""Hashed, compressed static files whose ES modules import each other by hashed names."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    # Off by default in Django; without it `import` in our modules would point at unhashed files.
    support_js_module_import_aggregation = True
