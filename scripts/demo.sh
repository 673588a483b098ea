#!/usr/bin/env bash
# A first look: simulate three planets (one with two visits), calibrate them with the nominal profile, compare with the truth.
#     DEMO_DIR (demo) folder of the dataset and the run; DEMO_FRACTION (0.04) length of a visit as a fraction of the real one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
V50CALIB_BASE="${V50CALIB_BASE-1}"
source scripts/env.sh

demo="${DEMO_DIR:-demo}"
fraction="${DEMO_FRACTION:-0.04}"
data="$demo/data-$fraction"
run="$demo/run-$fraction"

# simulated into another folder and renamed when complete, so that an interrupted simulation is never taken for a dataset
if [ ! -d "$data" ]; then
    echo "== simulate: 3 planets, 4 visits, $fraction of full length"
    rm -rf "$data.part"
    mkdir -p "$demo"
    v50calib simulate "$data.part" --planets 3 --visits 2,1,1 --frames-fraction "$fraction" --seed 20250
    mv "$data.part" "$data"
    echo "complete: $data.part is now $data"
fi

echo "== calibrate: profile calib/nominal"
v50calib calibrate --config-name calib/nominal --data "$data" --out "$run"

echo "== recovered transit depth beside the simulator's truth"
v50calib summary "$run" --truth "$data"
