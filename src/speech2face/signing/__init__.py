"""Pictures that say who gave them out, in a way that shows every change: C2PA manifests, signed and verified."""
