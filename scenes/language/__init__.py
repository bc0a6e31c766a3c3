"""Language of scenes: features of photographs on disk, relevancy of phrases, and the protocols that score answers.

    features = open_features(folder, {"frame_00001.jpg": (986, 728)})   # scenes.language.feature_files
    photo = features.photo("frame_00001.jpg")
    rows = photo.rows("medium")                                         # scenes.language.features
    frames = read_lerf_labels(Path("label/teatime"))                    # scenes.language.lerf_labels
    score = score_lerf(relevancy_map, frames[0].labels[0])              # scenes.language.scores

`docs/systems/language.md` has the layouts and the definitions.
"""
