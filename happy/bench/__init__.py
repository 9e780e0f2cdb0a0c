"""The load tool behind ``happyctl bench``.

Load comes from worker processes of its own (:mod:`happy.bench.worker`), each a single-threaded epoll loop
without Twisted, so that the tool does not limit the server it measures. Workers prepare accounts and
sockets, wait for each other, apply the load, and check at the end that nothing was lost, duplicated or
reordered. The coordinator (:mod:`happy.bench.coordinator`) adds up what they saw and what the server used.
"""
