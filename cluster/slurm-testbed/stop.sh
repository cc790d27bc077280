#!/bin/sh
# Ends the SLURM that start.sh started, by the process numbers that its daemons wrote down, and forgets its jobs.
set -eu

for file in /run/slurmd.pid /run/slurmctld.pid /run/munge/munged.pid; do
    if [ -s "$file" ]; then
        PID=$(cat "$file")
        kill "$PID" 2>/dev/null || true
        for _ in $(seq 100); do
            kill -0 "$PID" 2>/dev/null || break
            sleep 0.1
        done
        rm -f "$file"
    fi
done
rm -rf /var/spool/slurmctld/* /var/spool/slurmd/*
