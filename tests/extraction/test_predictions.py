"""Names of the classes that a model's heads tell."""

from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.extraction.predictions import camera_names, domain_names


def test_domains_that_share_a_place_share_the_names_of_its_cameras() -> None:
    labels = LabelSpace(
        (
            DomainLabels("photos", ("a",), (0, 3), 0, 0, "street"),
            DomainLabels("shop", ("a",), (1,), 1, 2),
            DomainLabels("videos", ("a", "b"), (0, 3), 2, 0, "street"),
        )
    )
    assert domain_names(labels) == ["photos", "shop", "videos"]
    assert camera_names(labels) == ["street:0", "street:3", "shop:1"]
    assert len(camera_names(labels)) == labels.num_cameras
