"""Moving scenes as sequences of point clouds: readers, ground, metrics, baselines, exports.

    scene = open_clouds(Path("log"))            # any format: scenes.flow.load
    scene = without_ground(crop(scene))         # scenes.flow.select
    pair = scene.pair(0)                        # ego motion taken out: scenes.flow.sequence
    scores = flow_scores([predicted], [pair])   # scenes.flow.metrics

`docs/systems/sceneflow.md` lists the formats and what happens to bad input.
"""
