"""Tinker's wire protocol over HTTP, in front of the local backend.

`main.serve` starts it. A route (`api`) checks a request, puts it into the queue of its model or sampler (`scheduler`)
and answers at once with the id under which the result can be fetched (`futures`). One thread carries the requests out,
one after another, on the models that are in memory (`residency`). What must outlive the process is in SQLite
(`records`, `database`) and in the checkpoint directory. All that depends on the version of the SDK is in `wire`.
"""
