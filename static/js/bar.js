// On a narrow screen the places scroll sideways: the one you are in is in sight.
const nav = document.querySelector(".bar nav");
const here = nav?.querySelector("[aria-current]");
if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
