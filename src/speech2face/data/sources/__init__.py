"""Where records come from: known corpora on disk, tables of pairs, folders of videos; see docs/data-sources.md."""
