"""Alarms, one file each: can an accuracy under attack be believed, or do the gradients only hide what is there?"""
