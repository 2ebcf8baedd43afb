"""Where records come from: known corpora on disk, tables of pairs, folders of videos. docs/data-sources.md describes each."""
