"""Moving scenes as sequences of point clouds: readers, ground, metrics, baselines, exports.

scene = open_clouds(Path("log"))                        # any format, `scenes.flow.load`
scene = without_ground(crop(scene))                     # `scenes.flow.select`
pair = scene.pair(0)                                    # ego motion taken out
scores = flow_scores([predicted], [pair])                   # `scenes.flow.metrics`
"""
