"""Every merge method, one file each; importing this package registers them."""

from dtm.merge.methods import linear as linear
from dtm.merge.methods import lora_average as lora_average
from dtm.merge.methods import lora_cat as lora_cat
